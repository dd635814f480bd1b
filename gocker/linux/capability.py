"""Capabilities of the calling process: capset(2), and the parts of prctl(2) that go with it.

A container's first process drops from the bounding set before it changes its user, because
that needs CAP_SETPCAP, and sets the others after it. Secure bits are left alone.
Source: capabilities(7), PR_CAPBSET_*(2const), PR_CAP_AMBIENT(2const),
include/uapi/linux/{capability,prctl}.h.
"""

from __future__ import annotations

import ctypes
import struct

from gocker.linux.libc import PTR, failed, syscall
from gocker.linux.process import PR_SET_NO_NEW_PRIVS, prctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gocker import oci
    from gocker.linux.calls import Calls

_NAMES = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO
    SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
    SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
    WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
NAMES = tuple(f"CAP_{name}" for name in _NAMES.split())
NUMBERS = {name: number for number, name in enumerate(NAMES)}

_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_WORD = 0xFFFFFFFF
_PHASE = "capabilities"

_capget = syscall("capget", PTR, PTR)
_capset = syscall("capset", PTR, PTR)


def mask(names: Iterable[str]) -> int:
    """Return the capabilities as bits; a name that is unknown has none (see `unknown`)."""
    bits = 0
    for name in names:
        if name in NUMBERS:
            bits |= 1 << NUMBERS[name]
    return bits


def unknown(capabilities: oci.Capabilities, held: int = -1) -> list[str]:
    """Return the names that nothing is done for: config.md wants a warning for each.

    `held`: what this process can give, as bits; -1 for everything.
    """
    sets: tuple[list[str], ...] = tuple(capabilities.values())  # type: ignore[arg-type]  # lists
    names = dict.fromkeys(name for each in sets for name in each or ())
    return [name for name in names if name not in NUMBERS or not held >> NUMBERS[name] & 1]


def is_held(name: str) -> bool:
    """Return whether this process had a capability when it started."""
    return bool(HELD >> NUMBERS[name] & 1)


def _last() -> int:
    """Return the highest number that the running kernel has a capability for."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        return int(file.read())


def _held() -> int:
    """Return the permitted set (proc_pid_status(5))."""
    with open("/proc/self/status", "rb") as file:
        return int(file.read().partition(b"\nCapPrm:")[2].split(maxsplit=1)[0], 16)


# Read before any container: its procfs is not the host's.
_LAST = _last()
HELD = _held()


def add_drop_bounding(calls: Calls, capabilities: oci.Capabilities) -> None:
    """Add calls that reduce the bounding set, to be made before the user changes.

    The permitted set is kept over the change of user. Capabilities newer than this module are
    dropped too.
    """
    keep = mask(capabilities.get("bounding", ()))
    for number in range(_LAST + 1):
        if not keep >> number & 1:
            calls.add("prctl", _PR_CAPBSET_DROP, number, phase=_PHASE)
    calls.add("prctl", _PR_SET_KEEPCAPS, 1, phase=_PHASE)


def add_apply(calls: Calls, capabilities: oci.Capabilities, held: int = -1) -> None:
    """Add calls that set the other four sets, to be made after the user changed.

    `held`: what can be given at all, as bits; -1 leaves the judgement to the kernel.
    """
    ambient = mask(capabilities.get("ambient", ())) & held
    calls.add("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, phase=_PHASE)
    effective = mask(capabilities.get("effective", ())) & held
    permitted = mask(capabilities.get("permitted", ())) & held
    inheritable = mask(capabilities.get("inheritable", ())) & held
    # struct __user_cap_data_struct; version 3 takes two, the low 32 capabilities first.
    words = [
        bits >> shift & _WORD for shift in (0, 32) for bits in (effective, permitted, inheritable)
    ]
    header = calls.buffer(struct.pack("Ii", _LINUX_CAPABILITY_VERSION_3, 0))
    calls.add("capset", header, calls.buffer(struct.pack("6I", *words)), phase=_PHASE)
    for number in range(64):
        if ambient >> number & 1:
            calls.add("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, phase=_PHASE)
    calls.add("prctl", _PR_SET_KEEPCAPS, 0, phase=_PHASE)


def drop_to(names: Iterable[str]) -> None:
    """Keep only these capabilities in the calling process, for good: nothing gives others back.

    Raises:
        ConfigError: for a name that is unknown.
        SyscallError: without CAP_SETPCAP.
    """
    keep = mask(names)
    for number in range(_LAST + 1):
        if not keep >> number & 1:
            prctl(_PR_CAPBSET_DROP, number)
    header = ctypes.create_string_buffer(struct.pack("Ii", _LINUX_CAPABILITY_VERSION_3, 0))
    data = ctypes.create_string_buffer(24)
    if _capget(ctypes.addressof(header), ctypes.addressof(data)) < 0:
        raise failed("capget")
    _, permitted_low, _, _, permitted_high, _ = struct.unpack("6I", data.raw)
    low, high = permitted_low & keep & _WORD, permitted_high & keep >> 32
    data.raw = struct.pack("6I", low, low, 0, high, high, 0)
    if _capset(ctypes.addressof(header), ctypes.addressof(data)) < 0:
        raise failed("capset")
    prctl(PR_SET_NO_NEW_PRIVS, 1)
