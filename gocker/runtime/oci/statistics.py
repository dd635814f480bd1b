"""Statistics in runc's form, which its callers know. All in bytes and nanoseconds."""

from __future__ import annotations

import os

from gocker.runtime.oci import cgroups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_UNLIMITED = (1 << 64) - 1


def read(record: dict[str, Any]) -> dict[str, Any]:
    """Return the statistics of a container's cgroups, by its record of them."""
    where = cgroups.paths(record)
    if record["mode"] == "v2":
        return _v2(where[""])
    return _v1(where)


def _text(directory: str | None, name: str) -> str:
    if directory is None:
        return ""
    try:
        with open(f"{directory}/{name}", encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def _number(directory: str | None, name: str) -> int:
    words = _text(directory, name).split()
    if not words:
        return 0
    return _UNLIMITED if words[0] == "max" else int(words[0])


def _flat(directory: str | None, name: str) -> dict[str, int]:
    rows = (line.split() for line in _text(directory, name).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdecimal()}


def _memory_entry(directory: str | None, prefix: str) -> dict[str, int]:
    return {
        "limit": _number(directory, f"{prefix}.limit_in_bytes"),
        "usage": _number(directory, f"{prefix}.usage_in_bytes"),
        "max": _number(directory, f"{prefix}.max_usage_in_bytes"),
        "failcnt": _number(directory, f"{prefix}.failcnt"),
    }


def _v1(where: dict[str, str]) -> dict[str, Any]:
    memory, account, pids = where.get("memory"), where.get("cpuacct"), where.get("pids")
    ticks = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    times = _flat(account, "cpuacct.stat")
    raw = _flat(memory, "memory.stat")
    limit = _number(pids, "pids.max")
    cpu = _flat(where.get("cpu"), "cpu.stat")
    return {
        "cpu": {
            "usage": {
                "total": _number(account, "cpuacct.usage"),
                "percpu": [int(word) for word in _text(account, "cpuacct.usage_percpu").split()],
                "kernel": times.get("system", 0) * ticks,
                "user": times.get("user", 0) * ticks,
            },
            "throttling": {
                "periods": cpu.get("nr_periods", 0),
                "throttledPeriods": cpu.get("nr_throttled", 0),
                "throttledTime": cpu.get("throttled_time", 0),
            },
        },
        "cpuset": _cpuset(where.get("cpuset")),
        "memory": {
            "cache": raw.get("cache", 0),
            "usage": _memory_entry(memory, "memory"),
            "swap": _memory_entry(memory, "memory.memsw"),
            "kernel": _memory_entry(memory, "memory.kmem"),
            "kernelTCP": _memory_entry(memory, "memory.kmem.tcp"),
            "raw": raw,
        },
        "pids": {
            "current": _number(pids, "pids.current"),
            "limit": 0 if limit == _UNLIMITED else limit,
        },
        "blkio": {
            "ioServiceBytesRecursive": _blkio(
                where.get("blkio"), "blkio.throttle.io_service_bytes_recursive"
            ),
            "ioServicedRecursive": _blkio(
                where.get("blkio"), "blkio.throttle.io_serviced_recursive"
            ),
        },
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _cpuset(directory: str | None) -> dict[str, Any]:
    return {
        "cpus": _list(_text(directory, "cpuset.cpus")),
        "mems": _list(_text(directory, "cpuset.mems")),
        "cpu_exclusive": _number(directory, "cpuset.cpu_exclusive"),
        "mem_hardwall": _number(directory, "cpuset.mem_hardwall"),
        "mem_exclusive": _number(directory, "cpuset.mem_exclusive"),
        "memory_migrate": _number(directory, "cpuset.memory_migrate"),
        "memory_spread_page": _number(directory, "cpuset.memory_spread_page"),
        "memory_spread_slab": _number(directory, "cpuset.memory_spread_slab"),
        "memory_pressure": _number(directory, "cpuset.memory_pressure"),
        "sched_load_balance": _number(directory, "cpuset.sched_load_balance"),
        "sched_relax_domain_level": -1,
    }


def _list(text: str) -> list[int]:
    """Return the numbers of a list such as ``0-2,7`` (cpuset(7))."""
    found: list[int] = []
    for part in text.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    return found


def _blkio(directory: str | None, name: str) -> list[dict[str, Any]]:
    entries = []
    for line in _text(directory, name).splitlines():
        words = line.split()
        if len(words) == 3:
            major, _, minor = words[0].partition(":")
            entries.append({"major": int(major), "minor": int(minor), "op": words[1],
                            "value": int(words[2])})  # fmt: skip
    return entries


def _v2(directory: str) -> dict[str, Any]:
    cpu = _flat(directory, "cpu.stat")
    raw = _flat(directory, "memory.stat")
    events = _flat(directory, "memory.events")
    limit = _number(directory, "pids.max")
    usage = {
        "limit": _number(directory, "memory.max"),
        "usage": _number(directory, "memory.current"),
        "max": _number(directory, "memory.peak"),
        "failcnt": events.get("max", 0),
    }
    swap = {
        "limit": _number(directory, "memory.swap.max"),
        "usage": _number(directory, "memory.swap.current"),
        "failcnt": 0,
    }
    return {
        "cpu": {
            "usage": {
                "total": cpu.get("usage_usec", 0) * 1000,
                "kernel": cpu.get("system_usec", 0) * 1000,
                "user": cpu.get("user_usec", 0) * 1000,
            },
            "throttling": {
                "periods": cpu.get("nr_periods", 0),
                "throttledPeriods": cpu.get("nr_throttled", 0),
                "throttledTime": cpu.get("throttled_usec", 0) * 1000,
            },
        },
        "cpuset": {
            "cpus": _list(_text(directory, "cpuset.cpus.effective")),
            "mems": _list(_text(directory, "cpuset.mems.effective")),
        },
        "memory": {"cache": raw.get("file", 0), "usage": usage, "swap": swap, "raw": raw},
        "pids": {
            "current": _number(directory, "pids.current"),
            "limit": 0 if limit == _UNLIMITED else limit,
        },
        "blkio": {"ioServiceBytesRecursive": _io(directory)},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _io(directory: str) -> list[dict[str, Any]]:
    entries = []
    for line in _text(directory, "io.stat").splitlines():
        device, *fields = line.split()
        major, _, minor = device.partition(":")
        values = dict(field.split("=", 1) for field in fields if "=" in field)
        for key, name in (("rbytes", "Read"), ("wbytes", "Write")):
            if key in values:
                entries.append({"major": int(major), "minor": int(minor), "op": name,
                                "value": int(values[key])})  # fmt: skip
    return entries
