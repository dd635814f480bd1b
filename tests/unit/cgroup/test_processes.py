"""Killing by lists that change while they are read. The processes are children of the test."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from gocker.cgroup import processes


@pytest.fixture
def spawn() -> Iterator[Callable[[], int]]:
    children: list[int] = []

    def sleeper() -> int:
        pid = os.fork()
        if pid == 0:
            signal.pause()
        children.append(pid)
        return pid

    yield sleeper
    for pid in children:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue  # reaped by the test


def lists(*readings: list[int]) -> Callable[[], list[int]]:
    """Return a list of PIDs that changes with each reading; the last one stays."""
    left = list(readings)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def soon() -> float:
    return time.monotonic() + 10


def killed(pid: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_a_process_that_appears_after_the_first_list_is_killed(spawn: Callable[[], int]) -> None:
    first, late = spawn(), spawn()
    processes.kill_all(lists([first], [first], [first, late]), until=soon())
    assert killed(first)
    assert killed(late)


def test_a_pid_no_longer_listed_is_not_signalled(spawn: Callable[[], int]) -> None:
    # It left the cgroup, or the number belongs to someone else by now.
    stranger = spawn()
    processes.kill_all(lists([stranger], []), until=soon())
    assert os.waitpid(stranger, os.WNOHANG) == (0, 0)
    os.kill(stranger, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(stranger, 0)[1]) == -signal.SIGTERM


def test_more_processes_than_a_batch_are_killed(
    spawn: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_BATCH", 2)
    pids = [spawn() for _ in range(5)]
    processes.kill_all(lambda: pids, until=soon())
    assert all(killed(pid) for pid in pids)


def test_a_dead_pid_is_no_error(spawn: Callable[[], int]) -> None:
    dead = spawn()
    os.kill(dead, signal.SIGKILL)
    os.waitpid(dead, 0)
    processes.kill_all(lists([dead], [dead], []), until=soon())


def test_killing_stops_in_time(spawn: Callable[[], int]) -> None:
    pid = spawn()
    processes.kill_all(lambda: [pid], until=time.monotonic() - 1)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)


def test_waiting_ends_when_the_list_is_empty(spawn: Callable[[], int]) -> None:
    pid = spawn()
    os.kill(pid, signal.SIGKILL)
    assert processes.wait_empty(lists([pid], []), until=soon())


def test_waiting_gives_up_in_time(spawn: Callable[[], int]) -> None:
    pid = spawn()
    assert not processes.wait_empty(lambda: [pid], until=time.monotonic() + 0.01)


def test_a_signal_reaches_every_member(spawn: Callable[[], int]) -> None:
    pids = [spawn(), spawn()]
    processes.signal_once(lambda: pids, signal.SIGTERM)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert codes == [-signal.SIGTERM, -signal.SIGTERM]
