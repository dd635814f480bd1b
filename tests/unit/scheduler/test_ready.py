"""Units without healthcheck that say themselves when they are ready."""

from __future__ import annotations

import pytest

from gocker.errors import PlanError
from gocker.plan.graph import order_units
from gocker.plan.model import Dependency, Ready, Retry
from gocker.scheduler.messages import Connect, Start
from tests.unit.scheduler.simulator import FOREVER, Run, Simulator, plan, unit, verdicts

LOG = Ready(log="up")
PORT = Ready(port=80)
HEALTHY = Dependency("db", "service_healthy")


def simulate(run: Run | list[Run], ready: Ready = LOG, **fields: object) -> Simulator:
    db = unit("db", role="support", ready=ready, **fields)
    simulator = Simulator(plan(db, unit("app", HEALTHY)), {"db": run})
    simulator.run()
    return simulator


def test_dependents_wait_for_the_line() -> None:
    simulator = simulate(Run(duration=99, line_s=3))
    assert simulator.times(Start, "app") == [3.0]
    records = simulator.records("container.health")
    assert [(r["status"], r["output"]) for r in records] == [("starting", ""), ("healthy", "up")]


def test_a_line_that_is_read_before_the_start_is_reported_counts() -> None:
    assert simulate(Run(duration=99, start_s=2, line_s=1)).times(Start, "app") == [2.0]


def test_dependents_wait_for_the_port() -> None:
    simulator = simulate(Run(duration=99, probes=(1, 1, 0)), PORT)
    assert simulator.times(Connect, "db") == [0.0, pytest.approx(0.1), pytest.approx(0.2)]
    assert simulator.times(Start, "app") == [pytest.approx(0.2)]


def test_nobody_connects_after_the_port_accepted() -> None:
    assert len(simulate(Run(duration=99, probes=(0,)), PORT).commands(Connect)) == 1


def test_who_ends_before_it_is_ready_has_failed_its_dependents() -> None:
    simulator = Simulator(
        plan(unit("db", role="support", ready=LOG), unit("app", HEALTHY)), {"db": Run()}
    )
    assert verdicts(simulator.run()) == {"db": "unhealthy", "app": "skipped"}


def test_another_attempt_may_become_ready() -> None:
    simulator = simulate([Run(code=1, duration=2), Run(duration=99, line_s=1)], retry=Retry(1))
    assert simulator.times(Start, "app") == [3.0]


def test_a_timeout_ends_the_waiting() -> None:
    db = unit("db", role="support", ready=LOG, timeout_s=5)
    simulator = Simulator(plan(db, unit("app", HEALTHY)), {"db": FOREVER})
    assert verdicts(simulator.run()) == {"db": "timeout", "app": "skipped"}


def test_wait_is_for_the_line_too() -> None:
    db = unit("db", ready=LOG)
    simulator = Simulator(plan(db), {"db": Run(duration=9, line_s=4)}, wait=True)
    simulator.run()
    ready = [when for when, command in simulator.log if type(command).__name__ == "Answer"]
    assert ready == [4.0]


def test_a_plan_takes_it_for_a_healthcheck() -> None:
    units = {"db": unit("db", ready=LOG), "app": unit("app", HEALTHY)}
    assert list(order_units(units)) == ["db", "app"]
    with pytest.raises(PlanError, match="no healthcheck"):
        order_units({"db": unit("db"), "app": unit("app", HEALTHY)})
