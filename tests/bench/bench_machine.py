"""Microseconds of the scheduler's machine per event: ``python -m tests.bench.bench_machine``.

Two events per job (started, exited), 16 jobs at once, no containers. The cost per event must not
grow with the plan.
"""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from collections import deque
from collections.abc import Callable

from gocker.plan.model import Plan
from gocker.scheduler.machine import Machine
from gocker.scheduler.messages import Command, Event, Exited, Start, Started
from tests.unit.scheduler import shapes

ROUNDS = 5


def drive(machine: Machine) -> float:
    """Run a plan whose jobs end in the order of their starts; return seconds in the machine."""
    queue: deque[Event] = deque()
    spent = 0.0
    now = 0.0

    def obey(commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Start):
                queue.append(Started(command.unit, command.attempt))
                queue.append(Exited(command.unit, command.attempt, 0))

    before = time.perf_counter()
    commands = machine.begin(now)
    spent += time.perf_counter() - before
    obey(commands)
    while not machine.done:
        event = queue.popleft()
        now += 0.001
        before = time.perf_counter()
        commands = machine.handle(event, now)
        machine.deadline()
        spent += time.perf_counter() - before
        obey(commands)
    return spent


def measure(plan: Plan) -> tuple[float, float]:
    """Return the medians of µs to build, per unit, and µs per event, begin included."""
    builds, events = [], []
    for _ in range(ROUNDS):
        gc.collect()
        before = time.perf_counter()
        machine = Machine(plan)
        builds.append((time.perf_counter() - before) / len(plan.units))
        events.append(drive(machine) / (2 * len(plan.units)))
    return statistics.median(builds) * 1e6, statistics.median(events) * 1e6


def bytes_per_unit(plan: Plan) -> float:
    """Return what a machine that has begun holds per unit, the plan itself not counted."""
    gc.collect()
    tracemalloc.start()
    machine = Machine(plan)
    machine.begin(0.0)
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / len(plan.units)


def main() -> None:
    """Print one line per shape and size."""
    made: tuple[tuple[str, Callable[[int], Plan], tuple[int, ...]], ...] = (
        ("flat", shapes.flat, (100, 1_000, 10_000)),
        ("chain", shapes.chain, (100, 1_000, 10_000)),
        ("grid", shapes.grid, (10, 32, 100)),
        ("layers of 100", lambda n: shapes.layers(n, 100), (1, 10, 100)),
    )
    titles = "shape", "units", "edges", "build µs/unit", "µs/event", "B/unit"
    print("{:<14} {:>6} {:>8} {:>14} {:>9} {:>7}".format(*titles))
    for name, make, sizes in made:
        for size in sizes:
            plan = make(size)
            edges = sum(len(unit.depends) for unit in plan.units.values())
            build, event = measure(plan)
            memory = bytes_per_unit(plan)
            print(
                f"{name:<14} {len(plan.units):>6} {edges:>8} {build:>14.1f} {event:>9.1f}"
                f" {memory:>7.0f}"
            )


if __name__ == "__main__":
    main()
