"""flock(2) locks: they end with their holder, however it ends.

An open file description holds a flock, not a process: a descriptor passed to the launcher keeps
the lock until both are gone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time

from gocker.errors import HostError
from gocker.report.human import safe

_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_RETRY_S = 0.02


class InUseError(HostError):
    """Somebody else holds the lock."""


class Lock:
    """A lock file held exclusively. Owns its descriptor; a ``with`` block releases it."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of our part of the lock; processes that inherited it still hold it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def acquire(name: str, *, dir_fd: int, what: str, timeout_s: float = 0.0) -> Lock:
    """Take a lock, waiting at most `timeout_s`, and write down who holds it.

    The wait asks again every 20 ms: the kernel has no flock with a time limit, and the only
    way to interrupt a blocking one is a signal, which belongs to the scheduler.

    Args:
        name: of the file, made if missing.
        dir_fd: the directory it is in.
        what: what is locked, for the message.
        timeout_s: seconds to wait; 0 asks once.

    Raises:
        InUseError: naming the holder's pid and command.
        HostError: if the file cannot be opened.
    """
    try:
        fd = os.open(name, _OPEN, 0o600, dir_fd=dir_fd)
    except OSError as err:
        raise HostError(f"cannot open the lock {name!r} of {what}: {err.strerror}") from err
    try:
        deadline = time.monotonic() + timeout_s
        while not _try(fd):
            if time.monotonic() >= deadline:
                holder = _holder(fd)
                raise InUseError(
                    f"{what} is in use by {holder}",
                    hint="wait until it has finished, or end it",
                )
            time.sleep(_RETRY_S)
        command = " ".join(sys.argv)[:200]
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()} {command}\n".encode("utf-8", "backslashreplace"), 0)
    except BaseException:
        os.close(fd)
        raise
    return Lock(fd)


def is_held(name: str, *, dir_fd: int) -> bool:
    """Return whether somebody holds the lock `name`; a missing file is free.

    A shared lock is tried, so that two who ask do not take each other for the holder.

    Raises:
        HostError: if it cannot be found out. "Free" would then be a licence to remove.
    """
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError as err:
        if err.errno in (errno.ENOENT, errno.ELOOP):
            return False
        raise HostError(f"cannot open the lock {name!r}: {err.strerror}") from err
    try:
        return not _try(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def _try(fd: int, operation: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(fd: int) -> str:
    pid, _, command = os.pread(fd, 400, 0).decode("utf-8", "replace").strip().partition(" ")
    return f"pid {safe(pid)} ({safe(command)})" if pid.isdecimal() else "another process"
