"""Signal dispositions below the C library, which keeps signals 32 and 33 for itself."""

from __future__ import annotations

import ctypes

from gocker.linux.libc import INT, PTR, ULONG, failed, syscall

_SIGKILL, _SIGSTOP, _LAST = 9, 19, 64


class _KernelSigaction(ctypes.Structure):
    """struct kernel_sigaction of x86-64 and arm64; all zero is SIG_DFL."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("flags", ctypes.c_ulong),
        ("restorer", ctypes.c_void_p),
        ("mask", ctypes.c_uint64),
    )


_rt_sigaction = syscall("rt_sigaction", INT, PTR, PTR, ULONG)
_SIG_IGN = 1


def stop_ignoring() -> list[int]:
    """Set every ignored signal to its default action; return their numbers.

    An ignored signal stays ignored over execve(2), and clone3's CLONE_CLEAR_SIGHAND does not
    change it either.
    """
    changed = []
    default = _KernelSigaction()
    for number in range(1, _LAST + 1):
        if number in (_SIGKILL, _SIGSTOP):
            continue
        now = _KernelSigaction()
        if _rt_sigaction(number, None, ctypes.addressof(now), 8) < 0:
            raise failed("rt_sigaction", signal=number)
        if now.handler == _SIG_IGN:
            if _rt_sigaction(number, ctypes.addressof(default), None, 8) < 0:
                raise failed("rt_sigaction", signal=number)
            changed.append(number)
    return changed
