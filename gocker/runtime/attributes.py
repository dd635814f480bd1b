"""Attributes of the process that its program inherits: scheduling, priorities, labels, limits.

Each becomes a system call of the list that ends with execve(2), before capabilities go.
Source: config.md "Linux Process", config-linux.md "Personality" and "memoryPolicy"; sched(7),
sched_setattr(2), ioprio_set(2), personality(2), set_mempolicy(2), apparmor(7).
"""

from __future__ import annotations

import os
import resource
import struct

from gocker.errors import ConfigError, ContainerError
from gocker.linux import capability, procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gocker import oci
    from gocker.linux.calls import Calls

_INFINITY = (1 << 64) - 1

# include/uapi/linux/sched.h
_POLICIES = {
    "SCHED_OTHER": 0, "SCHED_NORMAL": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3,
    "SCHED_ISO": 4, "SCHED_IDLE": 5, "SCHED_DEADLINE": 6, "SCHED_EXT": 7,
}  # fmt: skip
_SCHED_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01, "SCHED_FLAG_RECLAIM": 0x02, "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08, "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20, "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}  # fmt: skip
# struct sched_attr, 56 bytes: size, policy, flags, nice, priority, runtime, deadline, period,
# util_min, util_max.
_SCHED_ATTR = struct.Struct("=IIQiIQQQII")
# include/uapi/linux/ioprio.h
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_IOPRIO_WHO_PROCESS, _IOPRIO_CLASS_SHIFT = 1, 13
# include/uapi/linux/personality.h
_DOMAINS = {"LINUX": 0, "LINUX32": 8}
# include/uapi/linux/mempolicy.h
_MODES = {
    "MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3, "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5, "MPOL_WEIGHTED_INTERLEAVE": 6,
}  # fmt: skip
_MODE_FLAGS = {
    "MPOL_F_STATIC_NODES": 1 << 15, "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_NUMA_BALANCING": 1 << 13,
}  # fmt: skip
MAX_NODES = 1024


def add(calls: Calls, process: oci.Process, linux: oci.Linux) -> None:
    """Add the calls for all attributes that are set.

    Raises:
        ConfigError: an unknown name, or one that this host has nothing for.
        ContainerError: an rlimit that is out of reach.
    """
    add_rlimits(calls, process.get("rlimits") or ())
    if "scheduler" in process:
        _add_scheduler(calls, process["scheduler"])
    if "ioPriority" in process:
        _add_io_priority(calls, process["ioPriority"])
    if "personality" in linux:
        _add_personality(calls, linux["personality"])
    if "memoryPolicy" in linux:
        _add_memory_policy(calls, linux["memoryPolicy"])
    if process.get("apparmorProfile"):
        _add_label(calls, "apparmor", process["apparmorProfile"])
    if process.get("selinuxLabel"):
        _add_label(calls, "selinux", process["selinuxLabel"])


def _one(value: str, known: dict[str, int], where: str) -> int:
    if value not in known:
        raise ConfigError(
            f"{where}: unknown value {value!r}", hint=f"one of {', '.join(known)}", phase="process"
        )
    return known[value]


def add_rlimits(calls: Calls, rlimits: Iterable[oci.Rlimit]) -> None:
    """Add a call for each limit.

    Raises:
        ConfigError: an unknown type, or a soft limit above the hard one.
        ContainerError: phase rlimits: above this process's hard limit, and not allowed to.
    """
    for limit in rlimits:
        kind = getattr(resource, limit["type"], None)
        if not limit["type"].startswith("RLIMIT_") or not isinstance(kind, int):
            raise ConfigError(f"process.rlimits: unknown type {limit['type']!r}", phase="rlimits")
        if limit["soft"] > limit["hard"]:
            raise ConfigError(
                f"process.rlimits: {limit['type']}: soft limit {limit['soft']} is above the hard "
                f"limit {limit['hard']}",
                phase="rlimits",
            )
        _, hard = resource.getrlimit(kind)
        within = hard == resource.RLIM_INFINITY or limit["hard"] <= hard
        if not within and not capability.is_held("CAP_SYS_RESOURCE"):
            raise ContainerError(
                f"{limit['type']} {limit['hard']} is above this host's hard limit {hard}",
                hint="lower it, or start gocker with CAP_SYS_RESOURCE",
                phase="rlimits",
            )
        new = calls.buffer(struct.pack("QQ", limit["soft"], limit["hard"]))
        calls.add("prlimit64", 0, kind, new, 0, phase="rlimits", path=limit["type"])


def raise_rlimits(rlimits: Iterable[oci.Rlimit]) -> None:
    """Raise hard limits before a user namespace is entered: its root cannot.

    Raises:
        OSError, ValueError: EPERM; `add_rlimits` says it better.
    """
    for limit in rlimits:
        kind = getattr(resource, limit["type"], None)
        if isinstance(kind, int) and capability.is_held("CAP_SYS_RESOURCE"):
            soft, hard = resource.getrlimit(kind)
            if hard != resource.RLIM_INFINITY and limit["hard"] > hard:
                wanted = limit["hard"] if limit["hard"] < _INFINITY else resource.RLIM_INFINITY
                resource.setrlimit(kind, (soft, wanted))


def _add_scheduler(calls: Calls, scheduler: oci.Scheduler) -> None:
    policy = _one(scheduler["policy"], _POLICIES, "process.scheduler.policy")
    flags = 0
    for flag in scheduler.get("flags") or ():
        flags |= _one(flag, _SCHED_FLAGS, "process.scheduler.flags")
    attr = _SCHED_ATTR.pack(
        _SCHED_ATTR.size, policy, flags, scheduler.get("nice", 0), scheduler.get("priority", 0),
        scheduler.get("runtime", 0), scheduler.get("deadline", 0), scheduler.get("period", 0),
        0, 0,
    )  # fmt: skip
    name = scheduler["policy"]
    calls.add("sched_setattr", 0, calls.buffer(attr), 0, phase="scheduler", path=name)


def _add_io_priority(calls: Calls, wanted: oci.IOPriority) -> None:
    kind = _one(wanted["class"], _IO_CLASSES, "process.ioPriority.class")
    level = wanted.get("priority", 0)
    if not 0 <= level <= 7:
        raise ConfigError(f"process.ioPriority.priority {level} is not in 0..7", phase="process")
    value = kind << _IOPRIO_CLASS_SHIFT | level
    calls.add("ioprio_set", _IOPRIO_WHO_PROCESS, 0, value, phase="ioPriority", path=wanted["class"])


def _add_personality(calls: Calls, wanted: oci.Personality) -> None:
    domain = _one(wanted["domain"], _DOMAINS, "linux.personality.domain")
    if wanted.get("flags"):
        raise ConfigError(
            f"linux.personality.flags: {wanted['flags']} are not supported",
            hint="the specification has none", phase="process",
        )  # fmt: skip
    calls.add("personality", domain, phase="personality", path=wanted["domain"])


def _add_memory_policy(calls: Calls, wanted: oci.MemoryPolicy) -> None:
    mode = _one(wanted["mode"], _MODES, "linux.memoryPolicy.mode")
    for flag in wanted.get("flags") or ():
        mode |= _one(flag, _MODE_FLAGS, "linux.memoryPolicy.flags")
    nodes = numbers(wanted.get("nodes", ""), "linux.memoryPolicy.nodes", MAX_NODES)
    mask = sum(1 << node for node in nodes).to_bytes(MAX_NODES // 8, "little")
    address, count = (calls.buffer(mask), MAX_NODES + 1) if nodes else (0, 0)
    calls.add("set_mempolicy", mode, address, count, phase="memoryPolicy", path=wanted["mode"])


def numbers(text: str, where: str, count: int) -> set[int]:
    """Return the members of a list as ``0-3,7``, each below `count` (cpuset(7), "List format").

    Raises:
        ConfigError: if it is no such list.
    """
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last) < count):
            raise ConfigError(f"{where}: {text!r} is not a list", hint="write 0-3,7",
                              phase="process")  # fmt: skip
        found.update(range(int(first), int(last) + 1))
    return found


def set_affinity(cpus: str, where: str) -> None:
    """Bind this process to CPUs, for process.execCPUAffinity; empty changes nothing.

    Raises:
        ConfigError: no such list, or none of these CPUs is there.
    """
    wanted = numbers(cpus, where, 1 << 16)
    if not wanted:
        return
    try:
        os.sched_setaffinity(0, wanted)
    except OSError as error:
        raise ConfigError(f"{where}: {cpus!r}: {error.strerror}", phase="process") from error


def _add_label(calls: Calls, module: str, label: str) -> None:
    """Have the program executed with a label of a security module."""
    if not has_module(module):
        if label == "unconfined":
            return
        key = "apparmorProfile" if module == "apparmor" else "selinuxLabel"
        raise ConfigError(
            f"process.{key} {label!r}: this host does not have {module} switched on",
            hint="see /sys/kernel/security/lsm; remove the property", phase="process",
        )  # fmt: skip
    if module == "apparmor":
        path, text = "thread-self/attr/apparmor/exec", f"exec {label}"
    else:
        path, text = "thread-self/attr/exec", label
    fd = procfs.open_file(path, os.O_WRONLY)  # closed with all others, before the program
    data = text.encode()
    calls.add("write", fd, calls.buffer(data), len(data), phase=module, path=label)


def has_module(name: str) -> bool:
    """Return whether a security module is active on this host."""
    try:
        with open("/sys/kernel/security/lsm", "rb") as file:
            return name.encode() in file.read().split(b",")
    except OSError:
        return False


def check_label(linux: oci.Linux) -> str:
    """Return the option that gives mounts linux.mountLabel; empty for none.

    Raises:
        ConfigError: without SELinux.
    """
    label = linux.get("mountLabel")
    if not label:
        return ""
    if not has_module("selinux"):
        raise ConfigError(
            f"linux.mountLabel {label!r}: this host does not have selinux switched on",
            hint="see /sys/kernel/security/lsm; remove the property", phase="mounts",
        )  # fmt: skip
    return f'context="{label}"'
