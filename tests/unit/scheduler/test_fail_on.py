"""Limit events that make a failure of a success."""

from __future__ import annotations

from typing import Any

import pytest

from gocker.plan.model import Retry
from gocker.scheduler.messages import Oom, Result
from tests.unit.scheduler.simulator import Run, Simulator, plan, unit, verdicts


def simulate(evidence: dict[str, Any], *fail_on: str, **fields: Any) -> tuple[Simulator, Result]:
    job = unit("a", fail_on=fail_on, **fields)
    simulator = Simulator(plan(job), {"a": Run(duration=10, evidence=evidence)})
    return simulator, simulator.run()


@pytest.mark.parametrize(
    ("evidence", "word", "verdict"),
    [
        ({"memory.oom_kills": 1}, "oom", "oom"),
        ({"memory.oom_kills": 1}, "pids", "ok"),
        ({"pids.denied": 2}, "pids", "pids"),
        ({"pids.denied": 0}, "pids", "ok"),
        ({"cpu.throttled_s": 6.0}, "throttled>50%", "exit"),
        ({"cpu.throttled_s": 5.0}, "throttled>50%", "ok"),
        ({"cpu.throttled_s": 0.1}, "throttled", "exit"),
        ({"cpu.throttled_s": None}, "throttled", "ok"),
    ],
)
def test_an_event_is_a_failure(evidence: dict[str, Any], word: str, verdict: str) -> None:
    _, result = simulate(evidence, word)
    assert result.outcomes["a"].verdict == verdict
    assert result.exit_code == (verdict != "ok")


def test_an_event_that_the_kernel_told_at_once_counts() -> None:
    simulator = Simulator(plan(unit("a", fail_on=("oom",))), {"a": Run(duration=10)})
    simulator.at(1, Oom("a", 1))
    assert verdicts(simulator.run()) == {"a": "oom"}


def test_the_reason_is_told() -> None:
    simulator, _ = simulate({"cpu.throttled_s": 6.0}, "throttled>50%")
    (warning,) = simulator.records("job.warned")
    assert warning["message"].startswith("failed on being throttled for 60 % of its time")


def test_such_a_failure_is_retried() -> None:
    _, result = simulate({"pids.denied": 1}, "pids", retry=Retry(1, ("pids",)))
    assert result.outcomes["a"].attempts == 2


def test_the_code_from_a_failure_that_ended_with_0_is_1() -> None:
    job = unit("a", fail_on=("pids",))
    runs = {"a": Run(evidence={"pids.denied": 1})}
    assert Simulator(plan(job), runs, exit_code_from="a").run().exit_code == 1
