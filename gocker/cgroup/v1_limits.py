"""OCI resources as writes to cgroup v1 files. Pure.

Source: OCI config-linux.md "Control groups"; Documentation/admin-guide/cgroup-v1/.
"""

from __future__ import annotations

from gocker.cgroup import devices, other_limits, values
from gocker.cgroup.limits import Setting, number_of
from gocker.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device"),
)


def settings(resources: Mapping[str, Any]) -> list[Setting]:
    """Return the writes for `resources`, devices excepted (`v1.write_devices`).

    Raises:
        ConfigError: for values that have no form on v1, `unified` among them.
    """
    if resources.get("unified"):
        raise ConfigError(
            "linux.resources.unified needs cgroup v2, this host has v1",
            hint="use memory, cpu, pids and blockIO, or boot with systemd.unified_cgroup_hierarchy",
        )
    found: list[Setting] = []
    if "memory" in resources:
        found += _memory(resources)
    if "cpu" in resources:
        found += _cpu(resources)
    if "pids" in resources:
        found += _pids(resources)
    if "blockIO" in resources:
        found += _blkio(resources["blockIO"] or {})
    if "hugepageLimits" in resources:
        file = "hugetlb.{}.limit_in_bytes"
        found += other_limits.huge_pages(resources["hugepageLimits"], file)
    if "network" in resources:
        found += other_limits.network_v1(resources["network"] or {})
    if "rdma" in resources:
        found += other_limits.rdma(resources["rdma"] or {})
    return found


def _memory(resources: Mapping[str, Any]) -> list[Setting]:
    found = []
    for key, file in (
        # The limit first: memory+swap must never be below it.
        ("limit", "memory.limit_in_bytes"),
        ("swap", "memory.memsw.limit_in_bytes"),
        ("reservation", "memory.soft_limit_in_bytes"),
    ):
        value = number_of(resources, "memory", key)
        if value is not None:
            expected = values.whole_pages(value)
            name = f"memory.{key}"
            found.append(
                Setting("memory", file, str(value), name, value, expected, values.v1_bytes)
            )
    memory = resources["memory"] or {}
    other_limits.hierarchy(memory)
    kernel_tcp = memory.get("kernelTCP")
    if kernel_tcp:
        file, expected = "memory.kmem.tcp.limit_in_bytes", values.whole_pages(kernel_tcp)
        found.append(Setting("memory", file, str(kernel_tcp), "memory.kernelTCP", kernel_tcp,
                             expected, values.v1_bytes))  # fmt: skip
    swappiness = memory.get("swappiness")
    if swappiness is not None:  # 0 is a value of its own here
        found.append(_number("memory", "memory.swappiness", "memory.swappiness", swappiness))
    if memory.get("disableOOMKiller"):
        read = values.flat_key("oom_kill_disable")
        name = "memory.disableOOMKiller"
        found.append(Setting("memory", "memory.oom_control", "1", name, 1, 1, read))
    return found


def _number(controller: str, file: str, name: str, value: int) -> Setting:
    return Setting(controller, file, str(value), name, value, value, values.number)


def _cpu(resources: Mapping[str, Any]) -> list[Setting]:
    found = []
    for key, file in (
        ("shares", "cpu.shares"),
        # The period first: a quota is judged against it (at most the parent's ratio).
        ("period", "cpu.cfs_period_us"),
        ("quota", "cpu.cfs_quota_us"),
        ("burst", "cpu.cfs_burst_us"),  # Linux 5.14
        ("realtimePeriod", "cpu.rt_period_us"),
        ("realtimeRuntime", "cpu.rt_runtime_us"),
        ("idle", "cpu.idle"),  # Linux 5.15
    ):
        value = number_of(resources, "cpu", key)
        if value is not None:
            # Any negative quota is "none", shown as -1.
            value = max(value, -1) if key == "quota" else value
            found.append(_number("cpu", file, f"cpu.{key}", value))
    cpu = resources["cpu"] or {}
    return found + [cpuset(key, cpu[key]) for key in ("cpus", "mems") if cpu.get(key)]


def cpuset(key: str, value: str) -> Setting:
    """Return the write of ``cpuset.cpus`` or ``cpuset.mems``; the file is the same on v2.

    Raises:
        ConfigError: if `value` is not a list of numbers.
    """
    try:
        expected = values.cpu_set(value)
    except ValueError as err:
        raise ConfigError(
            f"linux.resources.cpu.{key}: {value!r} is not a list", hint='write "0-3,5"'
        ) from err
    file = f"cpuset.{key}"
    return Setting("cpuset", file, value, f"cpu.{key}", value, expected, values.cpu_set)


def _pids(resources: Mapping[str, Any]) -> list[Setting]:
    limit = number_of(resources, "pids", "limit")
    return [] if limit is None else [pids(limit)]


def pids(limit: int) -> Setting:
    """Return the write of ``pids.max``; the same on v2. Negative is unlimited."""
    value = "max" if limit < 0 else str(limit)
    return Setting("pids", "pids.max", value, "pids.limit", limit, max(limit, -1), values.number)


def _blkio(block: Mapping[str, Any]) -> list[Setting]:
    found = []
    if block.get("leafWeight"):
        # CFQ is gone since Linux 5.0 and leaf weights with it.
        raise ConfigError("linux.resources.blockIO.leafWeight needs the CFQ scheduler")
    if block.get("weight"):
        weight, name = block["weight"], "blockIO.weight"
        # BFQ's file; CFQ's blkio.weight went with Linux 5.0.
        file = "blkio.bfq.weight"
        found.append(Setting("blkio", file, str(weight), name, weight, weight, values.weight))
    for entry in block.get("weightDevice") or ():
        device, weight = f"{entry['major']}:{entry['minor']}", entry.get("weight")
        if entry.get("leafWeight") or weight is None:
            raise ConfigError(f"linux.resources.blockIO.weightDevice {device}: only weight works")
        read = values.device_line(device)
        name = f"blockIO.weightDevice {device}"
        line = f"{device} {weight}"
        file = "blkio.bfq.weight_device"
        found.append(Setting("blkio", file, line, name, weight, weight, read))
    for key, file in _THROTTLES:
        for entry in block.get(key) or ():
            device, rate = f"{entry['major']}:{entry['minor']}", entry["rate"]
            read = values.device_line(device)
            name = f"blockIO.{key} {device}"
            found.append(Setting("blkio", file, f"{device} {rate}", name, rate, rate, read))
    return found


def device_writes(rules: list[devices.Rule]) -> list[tuple[str, str]]:
    """Return (file, line) for each write that puts `rules` in force in a fresh cgroup.

    A fresh cgroup has its parent's rules. "deny all" empties the list, whatever it was.

    Raises:
        ConfigError: if v1 cannot express the rules.
    """
    everything, exceptions = devices.lists(rules)
    first, then = ("devices.allow", "devices.deny") if everything else (
        "devices.deny", "devices.allow",
    )  # fmt: skip
    return [(first, "a"), *((then, devices.text(rule)) for rule in exceptions)]
