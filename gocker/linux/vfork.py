"""A child as cheap as vfork(2) makes it: it shares our memory until it executes a program.

clone3(2) with CLONE_VM and CLONE_VFORK copies no page tables, and neither process takes a page
fault for a page the other one touched: measured on 2 cores, 0.05 ms here instead of 0.31 and
0.36 ms less in the child than with a plain clone3 (docs/performance.md). The kernel stops us
until the child has executed a program or ended, so there is no race for the shared memory.

The child runs a Python function on a stack of its own, as any C library may call one back, and
the function returns like any other: the interpreter's state is whole again before we go on. Then
the child makes the system calls that the function left for it, execve(2) the last of them,
without Python. That takes a few instructions that Python's library has no words for; they are
below, with their meaning. Where they cannot be used (`supported`), `clone3` serves.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys

from gocker.errors import InternalError, SyscallError
from gocker.linux.libc import INT, LONG, PTR, prototype
from gocker.linux.process import CLONE_INTO_CGROUP, CLONE_PARENT, CLONE_PIDFD, CloneArgs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gocker.linux.calls import Calls

CLONE_VM = 0x100
CLONE_VFORK = 0x4000
_SIGCHLD = 17
_STACK_SIZE = 1 << 20
_PAGE = mmap.PAGESIZE
_PROT_NONE = 0  # include/uapi/asm-generic/mman-common.h

# long spawn(struct clone_args *, size_t, struct frame *); x86-64 System V calling convention.
_X86_64 = bytes.fromhex(
    "53 4154 4155"  # push rbx; push r12; push r13
    "4889d3"  # mov rbx, rdx            the frame: a preserved register, in the child, too
    "b8b3010000 0f05"  # mov eax, 435; syscall   clone3
    "4885c0 7406"  # test rax, rax; jz child
    "415d 415c 5b c3"  # pop r13; pop r12; pop rbx; ret
    "4883e4f0"  # child: and rsp, -16
    "ff13"  # call [rbx]              the Python function
    "85c0 754b"  # test eax, eax; jnz exit
    "4c8b6308"  # mov r12, [rbx+8]        the list of calls
    "498b0424"  # next: mov rax, [r12]
    "4885c0 783e"  # test rax, rax; js exit  end of the list
    "498b7c2408 498b742410 498b542418"  # mov rdi, rsi, rdx <- [r12+8 ...]
    "4d8b542420 4d8b442428 4d8b4c2430"  # mov r10, r8, r9
    "0f05"  # syscall
    "4885c0 7806"  # test rax, rax; js failed
    "4983c440 ebcc"  # on: add r12, 64; jmp next
    "498b4c2438 4989442438"  # failed: mov rcx, [r12+56]; mov [r12+56], rax
    "4885c9 75eb"  # test rcx, rcx; jnz on   tolerated
    "4c896310"  # mov [rbx+16], r12       the call that failed
    "b8e7000000 bfff000000 0f05"  # exit: mov eax, 231; mov edi, 255; syscall  exit_group
)

_mprotect = prototype("mprotect", PTR, LONG, INT)
_CALLBACK = ctypes.CFUNCTYPE(INT)
_SPAWN = ctypes.PYFUNCTYPE(LONG, PTR, LONG, PTR)  # keeps the interpreter lock


class _Frame(ctypes.Structure):
    """What the instructions above find at ``rbx``."""

    _fields_ = (("function", PTR), ("calls", PTR), ("failed", PTR))


def supported() -> bool:
    """Return whether this interpreter and machine can do it.

    CPython 3.14 takes a foreign stack for an overflow of its own.
    """
    return os.uname().machine == "x86_64" and sys.version_info < (3, 14)


class Spawner:
    """Makes children. One per process, which must have one thread only.

    Raises:
        OSError: where a page cannot be made executable (SELinux execmem, PaX).
    """

    def __init__(self) -> None:
        self._code = mmap.mmap(-1, _PAGE)
        self._code.write(_X86_64)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._code))
        if _mprotect(address, _PAGE, mmap.PROT_READ | mmap.PROT_EXEC) < 0:
            raise OSError(ctypes.get_errno(), "mprotect")
        self._spawn = _SPAWN(address)
        # Private: a child that makes a child by plain clone3 must not share its stack with it.
        self._stack = mmap.mmap(-1, _STACK_SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        stack = ctypes.addressof(ctypes.c_char.from_buffer(self._stack))
        if _mprotect(stack, _PAGE, _PROT_NONE) < 0:  # an overflow is a fault, not a surprise
            raise OSError(ctypes.get_errno(), "mprotect")
        self._pidfd = ctypes.c_int(-1)
        self._arguments = CloneArgs(stack=stack, stack_size=_STACK_SIZE)
        self._arguments.pidfd = ctypes.addressof(self._pidfd)
        self._function = _CALLBACK(self._child)
        self._frame = _Frame(ctypes.c_void_p.from_address(ctypes.addressof(self._function)))
        self._prepare: Callable[[], Calls]
        self._calls: Calls
        self._error: BaseException | None = None

    def spawn(
        self, flags: int, cgroup_fd: int | None, prepare: Callable[[], Calls]
    ) -> tuple[int, int, BaseException | None]:
        """Return (pid, pidfd, error): the error that kept the child from executing its program.

        `prepare` runs in the child, and returns the calls that follow. What it changes in memory
        is changed here; descriptors, directories, credentials and namespaces are the child's own.

        Raises:
            OSError: if there is no child.
        """
        into = 0 if cgroup_fd is None else CLONE_INTO_CGROUP
        self._arguments.flags = flags | CLONE_VM | CLONE_VFORK | CLONE_PIDFD | into
        self._arguments.cgroup = cgroup_fd or 0
        # With CLONE_PARENT the child is our sibling and takes our own signal.
        self._arguments.exit_signal = 0 if flags & CLONE_PARENT else _SIGCHLD
        self._frame.calls = self._frame.failed = None
        self._prepare, self._error = prepare, None
        pid = self._spawn(
            ctypes.addressof(self._arguments), ctypes.sizeof(CloneArgs),
            ctypes.addressof(self._frame),
        )  # fmt: skip
        if pid < 0:
            raise SyscallError("clone3", -pid)
        return pid, self._pidfd.value, self._failure()

    def _failure(self) -> BaseException | None:
        if self._error is not None:
            return self._error
        if not self._frame.calls:
            return InternalError("the child was killed while it was set up")
        failed = self._frame.failed
        return self._calls.failure(failed) if failed else None

    def _child(self) -> int:
        try:
            self._calls = self._prepare()
            self._frame.calls = self._calls.address()
        except BaseException as error:  # whatever it is, the parent has to know
            self._error = error
            return 1
        return 0
