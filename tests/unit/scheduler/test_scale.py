"""The cost of an event does not grow with the plan: lines executed are counted, not time."""

from __future__ import annotations

import sys
from collections import deque
from types import FrameType
from typing import Any

import pytest

from gocker.plan.model import Plan
from gocker.scheduler.machine import Machine
from gocker.scheduler.messages import Event, Exited, Start, Started, Stop
from tests.unit.scheduler import shapes


class LineCounter:
    """Counts the lines of Python that run in it."""

    def __init__(self) -> None:
        self.lines = 0

    def _trace(self, _frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            self.lines += 1
        return self._trace

    def __enter__(self) -> LineCounter:
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)


def drive(plan: Plan) -> list[int]:
    """Run `plan`, jobs ending in the order of their starts; return the lines per event.

    Support ends when it is stopped. The last event is left out: it makes the result, of all units.
    """
    machine = Machine(plan)
    queue: deque[Event] = deque()
    now = 0.0

    def obey(commands: list[Any]) -> None:
        for command in commands:
            if isinstance(command, Start):
                queue.append(Started(command.unit, command.attempt))
                if plan.units[command.unit].role == "job":
                    queue.append(Exited(command.unit, command.attempt, 0))
            elif isinstance(command, Stop):
                queue.append(Exited(command.unit, command.attempt, 0))

    obey(machine.begin(now))
    costs = []
    while not machine.done:
        event = queue.popleft()
        now += 0.001
        with LineCounter() as counter:
            commands = machine.handle(event, now)
            machine.deadline()
        costs.append(counter.lines)
        obey(commands)
    assert machine.result().totals == {"ok": len(plan.units)}
    return costs[:-1]


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (shapes.flat(100), shapes.flat(10_000)),
        (shapes.services(100), shapes.services(2_000)),
        (shapes.chain(100), shapes.chain(1_000)),
        (shapes.grid(10), shapes.grid(100)),
    ],
    ids=["10,000 jobs", "2,000 services", "chain of 1,000", "grid of 100x100"],
)
def test_the_dearest_event_costs_the_same_in_a_large_plan(small: Plan, large: Plan) -> None:
    expected = max(drive(small))
    costs = drive(large)
    assert len(costs) == 2 * len(large.units) - 1
    # Clearing cancelled timers out of the heap is the one cost that comes in lumps.
    assert sorted(costs)[-20] <= expected
    assert sum(costs) / len(costs) <= expected


def test_the_mean_cost_is_the_same_in_a_large_plan() -> None:
    few, many = drive(shapes.flat(1_000)), drive(shapes.flat(10_000))
    assert sum(many) / len(many) <= 1.02 * sum(few) / len(few)


def test_the_cost_of_layers_grows_with_their_edges_only() -> None:
    narrow, wide = shapes.layers(10, 10), shapes.layers(10, 40)
    edges = [sum(len(unit.depends) for unit in plan.units.values()) for plan in (narrow, wide)]
    costs = [sum(drive(plan)) for plan in (narrow, wide)]
    assert costs[1] / costs[0] <= edges[1] / edges[0]
