"""The launcher with a stop-watch around its steps; `profile_container` starts it.

Everything is measured from outside: no line of gocker knows of it, so an ordinary run pays
nothing. A container's first process writes into memory that it always shares with the launcher.
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
from gocker.linux import seccomp
from gocker.runtime import attributes, container, init, launcher, layers, program

# (where, owner, function): in the order in which a container meets them.
BEFORE = (
    ("launcher", Manager, "create"),
    ("launcher", layers.Layers, "take"),
    ("launcher", v1_group.Cgroup, "fds"),
    ("launcher", v2_group.Cgroup, "dir_fd"),
)
IN_PREPARE = (
    ("init", init, "die_with_launcher"),
    ("init", init, "join"),
    ("init", program, "_identity"),
    ("init", program, "_environment"),
    ("init", program, "_make_cwd"),
    ("init", attributes, "add"),
    ("init", program, "_add_identity"),
    ("init", program, "_program"),
    ("init", seccomp, "add_install"),
)
AFTER = (
    ("launcher", launcher.Launcher, "_report_start"),
    ("launcher", launcher.Launcher, "_exited"),
    ("launcher", launcher.Launcher, "_collect"),
)
# Not a function's time but the time between two.
CLONE, CALLS = "clone3", "last calls and execve"
_CELLS = 3  # nanoseconds, page faults, voluntary context switches


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

    def add(self, column: int, nanoseconds: int, faults: int = 0, sleeps: int = 0) -> None:
        """Add to a step of the present container."""
        at = (self._row * 64 + column) * _CELLS
        for offset, value in enumerate((nanoseconds, faults, sleeps)):
            self._cells[at + offset] += value

    def value(self, row: int, column: int) -> list[int]:
        """Return nanoseconds, page faults and sleeps."""
        at = (row * 64 + column) * _CELLS
        return list(self._cells[at : at + _CELLS])

    def timed(self, function: Callable[..., Any], column: int) -> Callable[..., Any]:
        """Return `function` with the stop-watch around it."""

        def run(*arguments: Any, **keywords: Any) -> Any:
            usage = resource.getrusage(resource.RUSAGE_SELF)
            before = time.perf_counter_ns()
            try:
                return function(*arguments, **keywords)
            finally:
                spent = time.perf_counter_ns() - before
                after = resource.getrusage(resource.RUSAGE_SELF)
                faults = after.ru_minflt - usage.ru_minflt
                self.add(column, spent, faults, after.ru_nvcsw - usage.ru_nvcsw)

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
    for where, owner, name in BEFORE:
        _wrap(probe, where, owner, name)
    clone = probe.column("init", CLONE)
    for name in ("OUTSIDE", "INSIDE"):
        steps = getattr(init, name)
        timed = [probe.timed(step, probe.column("init", step.__name__)) for step in steps]
        setattr(init, name, tuple(timed))
    for where, owner, name in IN_PREPARE:
        _wrap(probe, where, owner, name)
    calls = probe.column("init", CALLS)
    for where, owner, name in AFTER:
        _wrap(probe, where, owner, name)
    _between(probe, clone, calls)


def _wrap(probe: Probe, where: str, owner: Any, name: str) -> None:
    column = probe.column(where, name)
    setattr(owner, name, probe.timed(getattr(owner, name), column))


def _between(probe: Probe, clone: int, calls: int) -> None:
    """Measure what begins in one process and ends in another; the clock is the same."""
    shared = memoryview(mmap.mmap(-1, 16)).cast("Q")
    prepare = init.prepare
    new, spawn = container.Container.__init__, container.Container._spawn
    read_status = container.Container.read_status

    def begin(*arguments: Any) -> None:
        shared[0] = time.perf_counter_ns()
        new(*arguments)

    def in_child(setup: Any) -> Any:
        probe.add(clone, time.perf_counter_ns() - shared[0])
        result = prepare(setup)
        shared[1] = time.perf_counter_ns()
        return result

    def spawned(*arguments: Any) -> None:
        spawn(*arguments)
        probe.add(calls, time.perf_counter_ns() - shared[1])

    def executed(self: Any) -> None:
        read_status(self)
        probe.add(calls, time.perf_counter_ns() - shared[1])

    container.Container.__init__ = begin  # type: ignore[method-assign]  # this is the probe
    container.Container._spawn = spawned  # type: ignore[method-assign]  # this is the probe
    container.Container.read_status = executed  # type: ignore[method-assign]  # this is the probe
    init.prepare = in_child
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
