"""clone3(2), unshare(2), setns(2), prctl(2), pidfd calls, close_range(2)."""

from __future__ import annotations

import ctypes
import os

from gocker.linux.libc import INT, LONG, PTR, STR, UINT, ULONG, encode, failed, prototype, syscall

# include/uapi/linux/sched.h
CLONE_NEWTIME = 0x80
CLONE_PIDFD = 0x1000
CLONE_PARENT = 0x8000
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_CLEAR_SIGHAND = 1 << 32
CLONE_INTO_CGROUP = 1 << 33

# include/uapi/linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

CLOSE_RANGE_CLOEXEC = 4

_SIGCHLD = 17


class CloneArgs(ctypes.Structure):
    """struct clone_args, include/uapi/linux/sched.h."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size",
            "tls", "set_tid", "set_tid_size", "cgroup",
        )
    )  # fmt: skip


_clone3 = syscall("clone3", PTR, LONG)
_unshare = prototype("unshare", INT)
_setns = prototype("setns", INT, INT)
_prctl = prototype("prctl", INT, ULONG, ULONG, ULONG, ULONG)
_sethostname = prototype("sethostname", STR, LONG)
_setdomainname = prototype("setdomainname", STR, LONG)
_pidfd_send_signal = syscall("pidfd_send_signal", INT, INT, PTR, UINT)
_pidfd_getfd = syscall("pidfd_getfd", INT, INT, UINT)
_close_range = syscall("close_range", UINT, UINT, UINT)
_keyctl = syscall("keyctl", INT, STR)

_pidfd = ctypes.c_int(-1)
_clone_args = CloneArgs()
_clone_args.pidfd = ctypes.addressof(_pidfd)
_CLONE_ARGS = ctypes.addressof(_clone_args)
_CLONE_SIZE = ctypes.sizeof(_clone_args)


def clone3(flags: int, cgroup_fd: int | None = None) -> tuple[int, int]:
    """Make a child by clone3(2), as fork(2) would: return (pid, pidfd), or (0, -1) in the child.

    CLONE_PIDFD is added. The child has a copy of this process's memory; the caller must have
    one thread only. `cgroup_fd`: directory of a v2 cgroup to start in.
    """
    # With CLONE_PARENT the child is our sibling and takes our own signal.
    _clone_args.exit_signal = 0 if flags & CLONE_PARENT else _SIGCHLD
    _clone_args.flags = flags | CLONE_PIDFD | (0 if cgroup_fd is None else CLONE_INTO_CGROUP)
    _clone_args.cgroup = cgroup_fd or 0
    pid = _clone3(_CLONE_ARGS, _CLONE_SIZE)
    if pid < 0:
        raise failed("clone3", flags=flags)
    return (pid, _pidfd.value) if pid else (0, -1)


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if it is not there.

    Source: proc_pid_stat(5), field 22, counted from the bracket that ends the name.
    """
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return int(os.read(fd, 4096).rpartition(b")")[2].split(None, 20)[19])
    except (OSError, IndexError):
        return None
    finally:
        os.close(fd)


def unshare(flags: int) -> None:
    """unshare(2)."""
    if _unshare(flags) < 0:
        raise failed("unshare", flags=flags)


def setns(fd: int, flags: int) -> None:
    """setns(2); with a pidfd (Linux 5.8) several namespaces are joined at once."""
    if _setns(fd, flags) < 0:
        raise failed("setns", flags=flags)


def prctl(option: int, value: int = 0) -> int:
    """prctl(2) with one argument."""
    result = _prctl(option, value, 0, 0, 0)
    if result < 0:
        raise failed("prctl", option=option, value=value)
    return result


def set_name(name: str) -> None:
    """Set the name in /proc/self/comm: at most 15 bytes count."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    prctl(PR_SET_NAME, ctypes.addressof(buffer))


def _execve_areas() -> tuple[int, ...]:
    """Return where the strings of execve(2) lie: begin and end of arguments and of environment.

    Source: proc_pid_stat(5), fields 48 to 51.
    """
    with open("/proc/self/stat", "rb") as stat:
        fields = stat.read().rpartition(b")")[2].split()
    return tuple(map(int, fields[45:49]))


# Read while the procfs in sight is the host's.
_AREAS = _execve_areas()


def set_title(title: str) -> None:
    """Replace this process's command line, as ps(1) and /proc/PID/cmdline show it."""
    start, end = _AREAS[:2]
    room = end - start
    ctypes.memmove(start, title.encode()[: room - 1].ljust(room, b"\0"), room)


def forget_environment() -> None:
    """Have no environment, in /proc/PID/environ neither."""
    os.environ.clear()
    start, end = _AREAS[2:]
    ctypes.memset(start, 0, end - start)


def sethostname(name: str) -> None:
    """sethostname(2): at most 64 bytes."""
    data = encode(name) or b""
    if _sethostname(data, len(data)) < 0:
        raise failed("sethostname", hostname=name)


def setdomainname(name: str) -> None:
    """setdomainname(2): the NIS domain name."""
    data = encode(name) or b""
    if _setdomainname(data, len(data)) < 0:
        raise failed("setdomainname", domainname=name)


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    """pidfd_send_signal(2)."""
    if _pidfd_send_signal(pidfd, signal, None, 0) < 0:
        raise failed("pidfd_send_signal", signal=signal)


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """pidfd_getfd(2), Linux 5.6: return a copy of another process's descriptor."""
    result = _pidfd_getfd(pidfd, fd, 0)
    if result < 0:
        raise failed("pidfd_getfd", fd=fd)
    return result


def close_on_exec_from(first: int) -> None:
    """Mark every descriptor from `first` on close-on-exec (close_range(2), Linux 5.11)."""
    if _close_range(first, 0xFFFFFFFF, CLOSE_RANGE_CLOEXEC) < 0:
        raise failed("close_range", first=first)


def close_range(first: int, last: int) -> None:
    """Close the descriptors `first` to `last`, both included (close_range(2), Linux 5.9)."""
    if first <= last and _close_range(first, last, 0) < 0:
        raise failed("close_range", first=first, last=last)


def new_session_keyring() -> None:
    """Join a new anonymous session keyring (keyctl(2), KEYCTL_JOIN_SESSION_KEYRING)."""
    if _keyctl(1, None) < 0:
        raise failed("keyctl")
