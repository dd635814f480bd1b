"""seccomp(2) with SECCOMP_SET_MODE_FILTER."""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.linux.calls import Calls

_SECCOMP_SET_MODE_FILTER = 1
# SECCOMP_FILTER_FLAG_NEW_LISTENER: seccomp(2) returns a descriptor for the notifications.
NEW_LISTENER = 8
_BPF_INSTRUCTION = 8  # sizeof(struct sock_filter)


def add_install(calls: Calls, program: bytes, flags: int) -> None:
    """Add the call that loads a filter, an array of struct sock_filter, for good.

    Needs no_new_privs or CAP_SYS_ADMIN; in force for the very next call. EACCES without either,
    EINVAL for a program the kernel refuses.
    """
    # struct sock_fprog, include/uapi/linux/filter.h
    fprog = struct.pack("H6xQ", len(program) // _BPF_INSTRUCTION, calls.buffer(program))
    calls.add("seccomp", _SECCOMP_SET_MODE_FILTER, flags, calls.buffer(fprog), phase="seccomp")
