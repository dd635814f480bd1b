"""landlock(7): what a process and its descendants may not do, asked for by the process itself."""

from __future__ import annotations

import ctypes

from gocker.linux.libc import INT, LONG, PTR, UINT, failed, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.linux.calls import Calls

# include/uapi/linux/landlock.h, with the ABI that brought them.
ACCESS_FS_REFER = 1 << 13  # 2
ACCESS_FS_IOCTL_DEV = 1 << 15  # 5
ACCESS_NET_BIND_TCP = 1 << 0  # 4
ACCESS_NET_CONNECT_TCP = 1 << 1  # 4
SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0  # 6
SCOPE_SIGNAL = 1 << 1  # 6

RESTRICT_SELF_LOG_NEW_EXEC_ON = 1 << 1  # 7

_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH, _RULE_NET_PORT = 1, 2


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class _NetPort(ctypes.Structure):
    _fields_ = (("allowed_access", ctypes.c_uint64), ("port", ctypes.c_uint64))


_create_ruleset = syscall("landlock_create_ruleset", PTR, LONG, UINT)
_add_rule = syscall("landlock_add_rule", INT, UINT, PTR, UINT)
# Older kernels take a shorter structure, and refuse a longer one unless the rest is zero.
_SIZE = ctypes.sizeof(_Ruleset)


def abi() -> int:
    """Return the version of Landlock's interface; 0 if it is not there or is switched off."""
    return max(_create_ruleset(None, 0, _CREATE_RULESET_VERSION), 0)


def create_ruleset(access_fs: int, access_net: int, scoped: int) -> int:
    """landlock_create_ruleset(2): what is handled is denied but for the rules that are added."""
    ruleset = _Ruleset(access_fs, access_net, scoped)
    fd = _create_ruleset(ctypes.addressof(ruleset), _SIZE, 0)
    if fd < 0:
        raise failed("landlock_create_ruleset", fs=access_fs, net=access_net, scoped=scoped)
    return fd


def allow_beneath(ruleset_fd: int, parent_fd: int, access: int) -> None:
    """landlock_add_rule(2): allow `access` to everything below a directory."""
    rule = _PathBeneath(access, parent_fd)
    if _add_rule(ruleset_fd, _RULE_PATH_BENEATH, ctypes.addressof(rule), 0) < 0:
        raise failed("landlock_add_rule", access=access)


def allow_port(ruleset_fd: int, port: int, access: int) -> None:
    """landlock_add_rule(2): allow `access` to a TCP port."""
    rule = _NetPort(access, port)
    if _add_rule(ruleset_fd, _RULE_NET_PORT, ctypes.addressof(rule), 0) < 0:
        raise failed("landlock_add_rule", port=port, access=access)


def add_restrict_self(calls: Calls, ruleset_fd: int, flags: int = 0) -> None:
    """Add the call that puts a ruleset in force, for good. Needs no_new_privs or CAP_SYS_ADMIN."""
    calls.add("landlock_restrict_self", ruleset_fd, flags, phase="landlock")
