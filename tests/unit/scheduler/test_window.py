"""`deploy.restart_policy.window`: restarts before a long life do not count."""

from __future__ import annotations

from gocker.plan.model import Restart
from gocker.scheduler.messages import Start
from tests.unit.scheduler.simulator import Run, Simulator, plan, unit


def starts(window_s: float, *durations: float) -> int:
    policy = Restart("on-failure", max_attempts=2, delay_s=1, window_s=window_s)
    runs = [Run(duration, code=1) for duration in durations]
    simulator = Simulator(plan(unit("a", restart=policy)), {"a": runs})
    simulator.run()
    return len(simulator.times(Start, "a"))


def test_without_a_window_all_restarts_count() -> None:
    assert starts(0.0, 1, 20, 1, 1, 1) == 3


def test_a_life_of_the_window_begins_the_count_anew() -> None:
    assert starts(10.0, 1, 20, 1, 1, 1) == 4


def test_a_shorter_life_does_not() -> None:
    assert starts(10.0, 1, 9, 1, 1, 1) == 3
