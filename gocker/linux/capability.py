"""Capabilities of the calling process: capset(2), and the parts of prctl(2) that go with it.

A container's first process calls `drop_bounding` before it changes its user, because that
needs CAP_SETPCAP, and `apply` after it. Secure bits are left alone. Source: capabilities(7),
PR_CAPBSET_*(2const), PR_CAP_AMBIENT(2const), include/uapi/linux/{capability,prctl}.h.
"""

from __future__ import annotations

import ctypes
import errno

from gocker.errors import ConfigError, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gocker import oci

# PyDLL keeps the GIL: the caller is a child of clone3 and must not run Python's thread code.
_libc = ctypes.PyDLL(None, use_errno=True)
# Variadic in C. Newer options check that the unused arguments are zero, so all are given.
_libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)

_NAMES = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO
    SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
    SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
    WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
NAMES = tuple(f"CAP_{name}" for name in _NAMES.split())
NUMBERS = {name: number for number, name in enumerate(NAMES)}
SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")

_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_WORD = 0xFFFFFFFF


class _Header(ctypes.Structure):
    """struct __user_cap_header_struct; pid 0 is the caller."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    """struct __user_cap_data_struct; version 3 takes two, the low 32 capabilities first."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def mask(names: Iterable[str]) -> int:
    """Return the capabilities as bits.

    Raises:
        ConfigError: for a name that is unknown.
    """
    bits = 0
    for name in names:
        if name not in NUMBERS:
            raise ConfigError(f"unknown capability {name!r}", phase="capabilities")
        bits |= 1 << NUMBERS[name]
    return bits


def bounding_set() -> frozenset[str]:
    """Return the capabilities of the caller's bounding set that have a name here."""
    return frozenset(name for name, number in NUMBERS.items() if _in_bounding_set(number))


def intersect(
    capabilities: oci.Capabilities, available: frozenset[str]
) -> tuple[oci.Capabilities, tuple[str, ...]]:
    """Return the sets without what is not `available`, and the names this took away, in order.

    A host may lack capabilities itself (its bounding set); no call can give them back.
    """
    missing = mask(name for names in capabilities.values() for name in names)  # type: ignore[attr-defined]  # TypedDict.values() is of object
    missing &= ~mask(available)
    kept: oci.Capabilities = {}
    for name in SETS:
        if name in capabilities:
            names = [cap for cap in capabilities[name] if cap in available]  # type: ignore[literal-required]  # SETS are the keys
            kept[name] = names  # type: ignore[literal-required]  # same
    return kept, tuple(name for name in NAMES if missing >> NUMBERS[name] & 1)


def drop_bounding(capabilities: oci.Capabilities) -> None:
    """Reduce the bounding set to the declared one and keep the permitted set over setuid(2).

    Capabilities newer than this module are dropped too.

    Raises:
        SyscallError: EPERM without CAP_SETPCAP.
        ConfigError: for a name that is unknown.
    """
    keep = mask(capabilities.get("bounding", ()))
    for number in range(64):
        if keep >> number & 1:
            continue
        try:
            _prctl(_PR_CAPBSET_DROP, number)
        except SyscallError as err:
            if err.errno == errno.EINVAL:
                break  # the first number that the kernel has no capability for
            raise
    _prctl(_PR_SET_KEEPCAPS, 1)


def apply(capabilities: oci.Capabilities) -> None:
    """Set the permitted, effective, inheritable and ambient set, after the user is changed.

    Raises:
        SyscallError: EPERM for a capability that the caller's permitted or bounding set lacks.
        ConfigError: for a name that is unknown.
    """
    ambient = mask(capabilities.get("ambient", ()))
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    capset(
        effective=mask(capabilities.get("effective", ())),
        permitted=mask(capabilities.get("permitted", ())),
        inheritable=mask(capabilities.get("inheritable", ())),
    )
    for number in range(64):
        if ambient >> number & 1:
            _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number)
    _prctl(_PR_SET_KEEPCAPS, 0)


def capset(*, effective: int, permitted: int, inheritable: int) -> None:
    """Set three of the caller's sets, as bits.

    Raises:
        SyscallError: EPERM for more than the permitted or bounding set allows.
    """
    header = _Header(_LINUX_CAPABILITY_VERSION_3, 0)
    data = (_Data * 2)(
        _Data(effective & _WORD, permitted & _WORD, inheritable & _WORD),
        _Data(effective >> 32, permitted >> 32, inheritable >> 32),
    )
    if _libc.capset(ctypes.byref(header), data):
        raise SyscallError(
            "capset",
            ctypes.get_errno(),
            effective=f"{effective:#x}",
            permitted=f"{permitted:#x}",
            inheritable=f"{inheritable:#x}",
        )


def _in_bounding_set(number: int) -> bool:
    """Return whether the bounding set has a capability; the kernel may not know it (EINVAL)."""
    result = _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0)
    if result < 0 and ctypes.get_errno() != errno.EINVAL:
        raise SyscallError("prctl", ctypes.get_errno(), option="PR_CAPBSET_READ", cap=number)
    return bool(result == 1)


def _prctl(option: int, first: int, second: int = 0) -> None:
    if _libc.prctl(option, first, second, 0, 0):
        raise SyscallError("prctl", ctypes.get_errno(), option=option, arg2=first, arg3=second)
