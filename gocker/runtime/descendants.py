"""Killing a process with everything it started, where no cgroup of its own tells what that is."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # no enums: they take 3 ms
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def kill(pid: int, list_pids: Callable[[], Iterable[int]]) -> None:
    """Kill a child of ours, not reaped yet, and its descendants among `list_pids`.

    Each is stopped as it is found, so that nothing forks behind our back, until a round finds
    nothing new. One whose parent ended before belongs to the container's PID 1 and is spared:
    that is how a daemon is started by an exec.
    """
    pidfds = {pid: os.pidfd_open(pid)}
    try:
        _send(pidfds[pid], signal.SIGSTOP)
        while _add_children(pidfds, list_pids()):
            pass
        for fd in pidfds.values():
            _send(fd, signal.SIGKILL)
    finally:
        for fd in pidfds.values():
            os.close(fd)


def everyone() -> list[int]:
    """Return all processes that procfs shows: where no cgroup tells which are the container's."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _add_children(pidfds: dict[int, int], candidates: Iterable[int]) -> bool:
    """Stop and add the children of those found so far; return whether there were any."""
    fresh = False
    for candidate in candidates:
        if candidate in pidfds or _parent(candidate) not in pidfds:
            continue
        try:
            fd = os.pidfd_open(candidate)
        except OSError:
            continue
        # Again, now that the pidfd is held: the number may have become another process's.
        if _parent(candidate) in pidfds:
            pidfds[candidate] = fd
            _send(fd, signal.SIGSTOP)
            fresh = True
        else:
            os.close(fd)
    return fresh


def _parent(pid: int) -> int | None:
    """Return the parent of a process (proc_pid_stat(5), field 4), or None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return int(stat.read().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def _send(pidfd: int, number: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        pass  # it has ended
