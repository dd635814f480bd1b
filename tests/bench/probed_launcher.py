"""The launcher with a stop-watch around its steps; `profile_container` starts it.

Everything is measured from outside: no line of gocker knows of it, so an ordinary run pays
nothing. A container's first process writes into memory that it shares with the launcher.
"""

from __future__ import annotations

import json
import mmap
import resource
import time
from collections.abc import Callable
from typing import Any

from gocker.cgroup import v1_group, v2_group
from gocker.cgroup.base import Manager
from gocker.linux import process, seccomp
from gocker.runtime import container, init, launcher, layers

# (where, owner, function): in the order in which a container meets them.
LAUNCHER = (
    ("launcher", Manager, "create"),
    ("launcher", layers.Layers, "take"),
    ("launcher", v1_group.Cgroup, "fds"),
    ("launcher", v2_group.Cgroup, "dir_fd"),
    # clone3 returns twice, and only one of its callers may go on: timed by hand, in _between.
)
IN_EXECUTE = (
    ("init", init, "_die_with_launcher"),
    ("init", init, "_identity"),
    ("init", init, "_environment"),
    ("init", init, "_make_cwd"),
    ("init", init, "_become"),
    ("init", init, "_enter_cwd"),
    ("init", process, "close_on_exec_from"),
    ("init", seccomp, "install"),
    ("init", init, "_refuse_magic_links"),
)
AFTER = (
    ("launcher", launcher.Launcher, "_executed"),
    ("launcher", launcher.Launcher, "_exited"),
    ("launcher", launcher.Launcher, "_collect"),
)
# Not a function's time but the time between two.
CLONE3, CHILD, EXECVE = "clone3", "clone3 to first line of init", "execve"
_CELLS = 2  # nanoseconds, page faults


class Probe:
    """One row of cells per container, one pair of cells per step."""

    def __init__(self, containers: int) -> None:
        self.names: list[tuple[str, str]] = []
        self.containers = containers
        self._row = 0
        self._memory = mmap.mmap(-1, containers * 64 * _CELLS * 8)
        self._cells = memoryview(self._memory).cast("Q")

    def column(self, where: str, name: str) -> int:
        """Return the number of a step."""
        key = (where, name)
        if key not in self.names:
            self.names.append(key)
        return self.names.index(key)

    def next_container(self) -> None:
        """Go to the next row; further containers than asked for share the last."""
        self._row = min(self._row + 1, self.containers - 1)

    def add(self, column: int, nanoseconds: int, faults: int) -> None:
        """Add to a step of the present container."""
        at = (self._row * 64 + column) * _CELLS
        self._cells[at] += nanoseconds
        self._cells[at + 1] += faults

    def value(self, row: int, column: int) -> tuple[int, int]:
        """Return nanoseconds and faults."""
        at = (row * 64 + column) * _CELLS
        return self._cells[at], self._cells[at + 1]

    def timed(self, function: Callable[..., Any], column: int) -> Callable[..., Any]:
        """Return `function` with the stop-watch around it."""

        def run(*arguments: Any, **keywords: Any) -> Any:
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            before = time.perf_counter_ns()
            try:
                return function(*arguments, **keywords)
            finally:
                spent = time.perf_counter_ns() - before
                after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
                self.add(column, spent, after - faults)

        run.__name__ = function.__name__
        return run

    def dump(self, path: str) -> None:
        """Write all rows as JSON, but the first (it makes what others find) and the last one."""
        rows = [
            [self.value(row, column) for column in range(len(self.names))]
            for row in range(1, self._row)
        ]
        with open(path, "w") as file:
            json.dump({"steps": self.names, "rows": rows}, file)


def attach(probe: Probe) -> None:
    """Wrap every step."""
    for where, owner, name in LAUNCHER:
        _wrap(probe, where, owner, name)
    clone3 = probe.column("launcher", CLONE3)
    child = probe.column("init", CHILD)
    init.SET_UP = tuple(
        probe.timed(step, probe.column("init", step.__name__)) for step in init.SET_UP
    )
    for where, owner, name in IN_EXECUTE:
        _wrap(probe, where, owner, name)
    execve = probe.column("init", EXECVE)
    for where, owner, name in AFTER:
        _wrap(probe, where, owner, name)
    _between(probe, clone3, child, execve)


def _wrap(probe: Probe, where: str, owner: Any, name: str) -> None:
    column = probe.column(where, name)
    setattr(owner, name, probe.timed(getattr(owner, name), column))


def _between(probe: Probe, clone3: int, child: int, execve: int) -> None:
    """Measure what begins in one process and ends in another; the clock is the same."""
    shared = memoryview(mmap.mmap(-1, 16)).cast("Q")
    clone, run, lookup = process.clone3, init.run, init._refuse_magic_links
    read_status = container.Container.read_status

    def begin(*arguments: Any) -> tuple[int, int]:
        shared[0] = time.perf_counter_ns()
        pid, pidfd = clone(*arguments)
        if pid:
            probe.add(clone3, time.perf_counter_ns() - shared[0], 0)
        return pid, pidfd

    def first_line(setup: Any) -> None:
        probe.add(child, time.perf_counter_ns() - shared[0], 0)
        run(setup)

    def before_execve(*arguments: Any) -> None:
        lookup(*arguments)
        shared[1] = time.perf_counter_ns()

    def executed(self: Any) -> Any:
        result = read_status(self)
        probe.add(execve, time.perf_counter_ns() - shared[1], 0)
        return result

    process.clone3 = begin
    init.run = first_line
    init._refuse_magic_links = before_execve
    container.Container.read_status = executed  # type: ignore[method-assign]  # this is the probe
    start = launcher.Launcher._start

    def started(*arguments: Any) -> None:
        probe.next_container()
        start(*arguments)

    launcher.Launcher._start = started  # type: ignore[method-assign]  # this is the probe


def main(path: str, containers: int) -> None:
    """Be the launcher, and write the figures to a file at the end."""
    probe = Probe(containers)
    attach(probe)
    try:
        launcher.main()
    finally:
        probe.dump(path)
