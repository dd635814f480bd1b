"""seccomp(2) with SECCOMP_SET_MODE_FILTER."""

from __future__ import annotations

import ctypes
import errno
import os

from gocker.errors import HostError, SyscallError

# PyDLL keeps the GIL: the caller is a child of clone3 and must not run Python's thread code.
_libc = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
# The C library has no wrapper. asm/unistd_64.h, asm-generic/unistd.h.
_SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SECCOMP_SET_MODE_FILTER = 1
_BPF_INSTRUCTION = 8  # sizeof(struct sock_filter)


class _SockFprog(ctypes.Structure):
    """struct sock_fprog, include/uapi/linux/filter.h."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install(program: bytes, flags: int) -> None:
    """Load a filter, an array of struct sock_filter, for the rest of this process's life.

    Needs no_new_privs or CAP_SYS_ADMIN. Takes effect at once, for the caller's next call too.

    Raises:
        SyscallError: EACCES without no_new_privs, EINVAL for a program the kernel refuses,
            ESRCH if TSYNC found a thread that could not follow.
        HostError: on an architecture whose number of seccomp(2) is not known.
    """
    machine = os.uname().machine
    if machine not in _SYS_SECCOMP:
        raise HostError(f"seccomp: no system call number for {machine!r}")
    fprog = _SockFprog(len(program) // _BPF_INSTRUCTION, program)
    result = _libc.syscall(
        ctypes.c_long(_SYS_SECCOMP[machine]),
        ctypes.c_ulong(_SECCOMP_SET_MODE_FILTER),
        ctypes.c_ulong(flags),
        ctypes.byref(fprog),
    )
    if result > 0:
        # TSYNC reports the thread that could not be synchronised as a positive number.
        raise SyscallError("seccomp", errno.ESRCH, flags=flags, tid=result)
    if result:
        raise SyscallError("seccomp", ctypes.get_errno(), flags=flags)
