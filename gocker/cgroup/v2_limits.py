"""OCI resources as writes to cgroup v2 files. Pure.

Source: OCI config-linux.md "Control groups"; Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

from gocker.cgroup import convert, other_limits, values
from gocker.cgroup.limits import Setting, number_of
from gocker.cgroup.v1_limits import cpuset, pids
from gocker.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_THROTTLES = (
    ("throttleReadBpsDevice", "rbps"),
    ("throttleWriteBpsDevice", "wbps"),
    ("throttleReadIOPSDevice", "riops"),
    ("throttleWriteIOPSDevice", "wiops"),
)
# The controller of a file is its first word, but for the ones of the core, in every cgroup.
CORE = "cgroup"


def settings(resources: Mapping[str, Any], *, bfq: bool = False) -> list[Setting]:
    """Return the writes for `resources`, devices excepted.

    Args:
        resources: OCI's linux.resources.
        bfq: whether the kernel has ``io.bfq.weight``, which then is the weight that counts.

    Raises:
        ConfigError: for values that have no form on v2.
    """
    found: list[Setting] = []
    if "memory" in resources:
        found += _memory(resources)
    if "cpu" in resources:
        found += _cpu(resources)
    if "pids" in resources:
        limit = number_of(resources, "pids", "limit")
        found += [] if limit is None else [pids(limit)]
    if "blockIO" in resources:
        found += _io(resources["blockIO"] or {}, bfq)
    if "hugepageLimits" in resources:
        found += other_limits.huge_pages(resources["hugepageLimits"], "hugetlb.{}.max")
    if "network" in resources:
        found += other_limits.network_v2(resources["network"] or {})
    if "rdma" in resources:
        found += other_limits.rdma(resources["rdma"] or {})
    # Last, as runc does: the administrator's own words win.
    return found + [_unified(*item) for item in (resources.get("unified") or {}).items()]


def _setting(file: str, value: str, limit: str, requested: int, expected: int) -> Setting:
    controller = file.partition(".")[0]
    return Setting(controller, file, value, limit, requested, expected, values.number)


def _memory(resources: Mapping[str, Any]) -> list[Setting]:
    found = []
    memory = resources["memory"] or {}
    for key in ("swappiness", "disableOOMKiller"):
        if memory.get(key):
            raise ConfigError(
                f"linux.resources.memory.{key} does not exist in cgroup v2", hint="remove it"
            )
    other_limits.hierarchy(memory)
    if memory.get("kernelTCP"):
        raise ConfigError(
            "linux.resources.memory.kernelTCP does not exist in cgroup v2", hint="remove it"
        )
    limit = number_of(resources, "memory", "limit")
    swap = number_of(resources, "memory", "swap")
    reservation = number_of(resources, "memory", "reservation")
    if limit is not None:
        found.append(_bytes("memory.max", limit, "memory.limit", limit))
    if swap is not None:
        only_swap = convert.swap_max_v2(limit, swap)
        found.append(_bytes("memory.swap.max", only_swap, "memory.swap", swap))
    if reservation is not None:
        found.append(_bytes("memory.low", reservation, "memory.reservation", reservation))
    return found


def _bytes(file: str, value: int, limit: str, requested: int) -> Setting:
    return _setting(file, convert.limit(value), limit, requested, values.whole_pages(value))


def _cpu(resources: Mapping[str, Any]) -> list[Setting]:
    cpu = resources["cpu"] or {}
    for key in ("realtimeRuntime", "realtimePeriod"):
        if cpu.get(key):
            raise ConfigError(
                f"linux.resources.cpu.{key} does not exist in cgroup v2", hint="remove it"
            )
    found = []
    shares, burst, idle = (number_of(resources, "cpu", key) for key in ("shares", "burst", "idle"))
    if shares is not None:
        weight = convert.cpu_weight(shares)
        found.append(_setting("cpu.weight", str(weight), "cpu.shares", shares, weight))
    found += _cpu_max(number_of(resources, "cpu", "quota"), number_of(resources, "cpu", "period"))
    if burst is not None:
        found.append(_setting("cpu.max.burst", str(burst), "cpu.burst", burst, burst))
    if idle is not None:
        found.append(_setting("cpu.idle", str(idle), "cpu.idle", idle, idle))
    return found + [cpuset(key, cpu[key]) for key in ("cpus", "mems") if cpu.get(key)]


def _cpu_max(quota: int | None, period: int | None) -> list[Setting]:
    """Return one write per limit asked for: the same line, each reading its own word back."""
    line = convert.cpu_max(quota, period)
    found = []
    if period is not None:
        args = (line, "cpu.period", period, period, values.second_word)
        found.append(Setting("cpu", "cpu.max", *args))
    if quota is not None:
        args = (line, "cpu.quota", quota, max(quota, -1), values.first_word)
        found.append(Setting("cpu", "cpu.max", *args))
    return found


def _io(block: Mapping[str, Any], bfq: bool) -> list[Setting]:
    found = []
    if block.get("leafWeight"):
        raise ConfigError("linux.resources.blockIO.leafWeight does not exist in cgroup v2")
    if block.get("weight"):
        weight = block["weight"]
        file, value = _weight(weight, bfq)
        name = "blockIO.weight"
        found.append(Setting("io", file, str(value), name, weight, value, values.weight))
    for entry in block.get("weightDevice") or ():
        device, weight = f"{entry['major']}:{entry['minor']}", entry.get("weight")
        if entry.get("leafWeight") or weight is None:
            raise ConfigError(f"linux.resources.blockIO.weightDevice {device}: only weight works")
        file, value = _weight(weight, bfq)
        read, name = values.device_line(device), f"blockIO.weightDevice {device}"
        found.append(Setting("io", file, f"{device} {value}", name, weight, value, read))
    for key, word in _THROTTLES:
        for entry in block.get(key) or ():
            device, rate = f"{entry['major']}:{entry['minor']}", entry["rate"]
            # OCI's 0 is no limit, as in v1.
            line = f"{device} {word}={rate or 'max'}"
            read, name = values.device_line(device, word), f"blockIO.{key} {device}"
            found.append(Setting("io", "io.max", line, name, rate, rate or -1, read))
    return found


def _weight(weight: int, bfq: bool) -> tuple[str, int]:
    converted = convert.io_weight(weight)  # judges the range, too
    return ("io.bfq.weight", weight) if bfq else ("io.weight", converted)


def _unified(file: str, value: Any) -> Setting:
    """Return the write of a file named by the user.

    The kernel's answer may be rounded in ways only the file's documentation knows, so a single
    number may come back smaller by less than a page; anything else has to read as written.
    """
    controller, dot, _ = file.partition(".")
    if not dot or "/" in file or not isinstance(value, str):
        raise ConfigError(f"linux.resources.unified: {file!r}: {value!r} is not a file and a text")
    if file in ("cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.subtree_control"):
        raise ConfigError(f"linux.resources.unified: {file!r} is gocker's own to write")
    if controller == "cpuset" and value[:1].isdigit():
        name = f"unified.{file}"
        return Setting(controller, file, value, name, value, values.cpu_set(value), values.cpu_set)
    read, expected = _unified_reader(value)
    return Setting(controller, file, value, f"unified.{file}", value, expected, read)


def _unified_reader(value: str) -> tuple[values.Reader, values.Value]:
    text = value.strip()
    if text == "max" or text.lstrip("-").isdigit():
        wanted = values.number(text)

        def number(shown: str) -> int:
            words = shown.split()
            # "default 100" and "max 100000" hold the number that was written.
            got = values.number(words[1] if words[0] == "default" else words[0])
            return wanted if got == values.whole_pages(wanted) else got

        return number, wanted

    def contained(shown: str) -> str:
        return text if set(text.split()) <= set(shown.replace(",", " ").split()) else shown.strip()

    return contained, text
