"""The C library, loaded once, and the check that follows every call.

``PyDLL`` keeps the interpreter lock during a call. A child made by a raw clone3 then never
finds the lock taken by a thread that does not exist in it (docs/architecture.md, section 1).
"""

from __future__ import annotations

import ctypes
import os

from gocker.errors import HostError, SyscallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

INT = ctypes.c_int
UINT = ctypes.c_uint
LONG = ctypes.c_long
ULONG = ctypes.c_ulong
STR = ctypes.c_char_p
PTR = ctypes.c_void_p

_libc = ctypes.PyDLL(None, use_errno=True)

# Numbers of calls that the C library has no wrapper for. From 424 on they are the same on all
# architectures. Source: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h.
_ARCH_NUMBERS = {
    "x86_64": {"pivot_root": 155, "capset": 126, "capget": 125, "keyctl": 250, "rt_sigaction": 13},
    "aarch64": {"pivot_root": 41, "capset": 91, "capget": 90, "keyctl": 219, "rt_sigaction": 134},
}
_COMMON_NUMBERS = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
}


def number(name: str) -> int:
    """Return the number of a system call on this machine.

    Raises:
        HostError: on an architecture whose numbers are not known; never a guess.
    """
    if name in _COMMON_NUMBERS:
        return _COMMON_NUMBERS[name]
    machine = os.uname().machine
    if machine not in _ARCH_NUMBERS:
        raise HostError(f"unsupported architecture {machine!r}", hint="x86_64 and aarch64 are")
    return _ARCH_NUMBERS[machine][name]


def prototype(name: str, *argument_types: Any) -> Callable[..., int]:
    """Return the C library's function `name` with one fixed signature, returning int."""
    function = _libc[name]
    function.argtypes = argument_types
    function.restype = LONG
    return function


def syscall(name: str, *argument_types: Any) -> Callable[..., int]:
    """Return a function that makes the system call `name` directly."""
    function = prototype("syscall", LONG, *argument_types)
    call = number(name)

    def invoke(*arguments: Any) -> int:
        return function(call, *arguments)

    return invoke


def failed(name: str, path: str | None = None, **arguments: Any) -> SyscallError:
    """Return the error of the call just made, from errno."""
    return SyscallError(name, ctypes.get_errno(), path, **arguments)


def encode(text: str | None) -> bytes | None:
    """Return `text` as the kernel wants it; None stays NULL."""
    return None if text is None else os.fsencode(text)
