"""Takes from a helper process of ours what it does not need: user, capabilities, system calls."""

from __future__ import annotations

import signal

from gocker.linux import capability, process, seccomp
from gocker.linux.calls import Calls
from gocker.nested import has_one_id
from gocker.runtime.seccomp import program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker import oci

NOBODY = 65534
_PHASE = "confine"
# What the interpreter needs to go on, and reading a file.
_INTERPRETER = (
    "brk", "clock_gettime", "close", "exit", "exit_group", "fstat", "futex", "getpid",
    "getrandom", "ioctl", "lseek", "madvise", "mmap", "mprotect", "mremap", "munmap",
    "newfstatat", "openat", "pread64", "read", "rt_sigaction", "rt_sigprocmask",
    "rt_sigreturn", "write",
)  # fmt: skip
_SOCKETS = (
    "accept4", "bind", "connect", "epoll_ctl", "epoll_pwait", "epoll_wait", "fcntl",
    "getpeername", "getsockname", "getsockopt", "recvfrom", "recvmsg", "sendmsg", "sendto",
    "setsockopt", "shutdown", "socket",
)  # fmt: skip


def confine(more: tuple[str, ...] = ()) -> None:
    """Become nobody, for good: no capability, no new privileges, sockets and reading only.

    Args:
        more: further system calls that stay allowed.

    Raises:
        SyscallError: if any of it cannot be had; the process must not go on then.
    """
    profile: oci.Seccomp = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": [*_INTERPRETER, *_SOCKETS, *more], "action": "SCMP_ACT_ALLOW"}],
    }
    code, flags = program(profile)
    calls = Calls()
    capability.add_drop_bounding(calls, {})
    if not has_one_id():  # else there is nobody to become
        calls.add("setgroups", 0, 0, phase=_PHASE)
        calls.add("setresgid", NOBODY, NOBODY, NOBODY, phase=_PHASE)
        calls.add("setresuid", NOBODY, NOBODY, NOBODY, phase=_PHASE)
    capability.add_apply(calls, {})
    # The kernel clears both when credentials change (prctl(2)).
    calls.add("prctl", process.PR_SET_PDEATHSIG, signal.SIGKILL, phase=_PHASE)
    calls.add("prctl", process.PR_SET_DUMPABLE, 0, phase=_PHASE)
    calls.add("prctl", process.PR_SET_NO_NEW_PRIVS, 1, phase=_PHASE)
    seccomp.add_install(calls, code, flags)
    failure = calls.run()
    if failure is not None:
        raise failure
