"""Killing every process of a cgroup without ever signalling a stranger; who started them."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # no enums: they take 3 ms
import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# So that a fork bomb does not eat our descriptors (RLIMIT_NOFILE is often 1024).
_BATCH = 256
_LAUNCHER = "gocker-launcher"  # TASK_COMM_LEN leaves 15 characters


def kill_all(list_pids: Callable[[], list[int]], *, until: float) -> None:
    """Send SIGKILL until a reading of the cgroup finds nothing that was not yet signalled.

    The list is read again after each round because a fork may have been under way. It ends:
    fork fails with a pending SIGKILL (copy_process() in kernel/fork.c), so a signalled process
    makes no more. The frozen cgroup only makes it end sooner. Stops at `until` (CLOCK_MONOTONIC
    seconds) if processes come faster than one CPU can read them; `wait_empty` tells.
    """
    done: set[int] = set()
    while time.monotonic() < until:
        fresh = [pid for pid in list_pids() if pid not in done]
        if not fresh:
            return
        for start in range(0, len(fresh), _BATCH):
            done |= _signal_members(fresh[start : start + _BATCH], list_pids, signal.SIGKILL)


def _signal_members(
    candidates: list[int], list_pids: Callable[[], list[int]], signum: int
) -> set[int]:
    """Signal the candidates that are members once their pidfds are held; return those."""
    pidfds: dict[int, int] = {}
    try:
        for pid in candidates:
            try:
                pidfds[pid] = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
        # A PID read from a list may be someone else's by now. Member again *after* pidfd_open:
        # then the pidfd is of the member, or of a dead process that cannot be hurt.
        members = set(list_pids())
        for pid, fd in pidfds.items():
            if pid in members:
                try:
                    signal.pidfd_send_signal(fd, signum)
                except ProcessLookupError:
                    continue
        return members & pidfds.keys()
    finally:
        for fd in pidfds.values():
            os.close(fd)


def wait_empty(list_pids: Callable[[], list[int]], *, until: float) -> bool:
    """Wait for the exit of every process listed; return False at `until`.

    Waits on pidfds, without polling: v1 has no notification of an empty cgroup but
    release_agent, which starts a program on the host.
    """
    while members := list_pids():
        poll = select.poll()
        pidfds: list[int] = []
        try:
            for pid in members[:_BATCH]:
                try:
                    fd = os.pidfd_open(pid)
                except ProcessLookupError:
                    continue
                pidfds.append(fd)
                poll.register(fd, select.POLLIN)
            left = until - time.monotonic()
            if left <= 0:
                return False
            if pidfds:
                poll.poll(left * 1000)
        finally:
            for fd in pidfds:
                os.close(fd)
    return True


def signal_once(list_pids: Callable[[], list[int]], signum: int) -> None:
    """Send a signal to the processes listed now; one that forks meanwhile is missed."""
    candidates = list_pids()
    for start in range(0, len(candidates), _BATCH):
        _signal_members(candidates[start : start + _BATCH], list_pids, signum)


def are_orphans(pids: Iterable[int]) -> bool:
    """Return whether no process has a launcher above it; True for none at all.

    The kernel alone is asked. What a container's processes are called is theirs to choose, so
    only their first ancestor outside of the cgroup counts: the launcher, or whoever adopts
    orphans. A process that cannot be looked at counts as a launcher's: it may be.
    """
    inside = set(pids)
    return all(_is_orphan(pid, inside) for pid in inside)


def _is_orphan(pid: int, inside: set[int]) -> bool:
    while pid in inside:
        status = _status(pid)
        if status is None:
            return False
        pid = int(status["PPid"])
    status = _status(pid) if pid else None
    return pid == 0 or (status is not None and status["Name"] != _LAUNCHER)


def _status(pid: int) -> dict[str, str] | None:
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            return {
                key: value.strip()
                for key, _, value in (line.partition(":") for line in file)
                if key in ("Name", "PPid")
            }
    except OSError:
        return None
