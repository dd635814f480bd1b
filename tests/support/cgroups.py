"""Processes in cgroups, for the tests of both drivers."""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import signal
import time
from collections.abc import Callable

from gocker.cgroup.group import Cgroup


def start(group: Cgroup, program: Callable[[], object]) -> int:
    """Fork a process that enters the cgroups itself, as a container's first process does."""
    fds = group.fds()
    pid = os.fork()
    if pid == 0:
        try:
            group.join(fds)
            program()
        except BaseException:  # the child must never return into pytest
            os._exit(99)
        os._exit(0)
    return pid


def status(pid: int) -> int:
    """Wait for a child; return its exit code, or minus its signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def eat(size: int) -> None:
    """Touch every page of `size` bytes."""
    data = bytearray(size)
    data[::4096] = b"x" * len(data[::4096])


def fork_forever() -> None:
    """Fork in a chain of bounded width: each process makes its successor and exits."""
    while True:
        with contextlib.suppress(BlockingIOError):
            if os.fork():
                os._exit(0)


def check_freezing(group: Cgroup, check_frozen: Callable[[], None]) -> None:
    """Freeze a counting process: it must not count on, and must when it is thawed."""
    counter = mmap.mmap(-1, 8)

    def count() -> None:
        for number in itertools.count():
            counter[:] = number.to_bytes(8, "little")

    pid = start(group, count)
    _wait_for_change(counter)
    group.freeze(True)
    check_frozen()
    before = counter[:]
    # Long enough for the other process to have counted on, if it could.
    for _ in range(20_000):
        os.sched_yield()
    assert counter[:] == before
    group.freeze(False)
    _wait_for_change(counter)
    group.kill()
    assert status(pid) == -signal.SIGKILL


def _wait_for_change(counter: mmap.mmap) -> None:
    before, until = counter[:], time.monotonic() + 30
    while counter[:] == before:
        assert time.monotonic() < until
        os.sched_yield()
