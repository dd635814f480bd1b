"""Conditions, `when`, roles, slots: what starts, what is skipped, what is stopped, and when."""

from __future__ import annotations

from typing import Any

import pytest

from gocker.errors import PlanError
from gocker.plan.model import Dependency, Healthcheck, MatrixGroup, Retry
from gocker.scheduler.messages import Kill, Probe, Start, Stop, Verdict
from tests.unit.scheduler.simulator import (
    FOREVER,
    Run,
    Simulator,
    fails,
    plan,
    unit,
    verdicts,
)

COMPLETED = "service_completed_successfully"
HEALTH = Healthcheck(("true",), interval_s=1, retries=2)


def simulate(runs: dict[str, Any], *units: Any, **options: Any) -> Simulator:
    simulator = Simulator(plan(*units), runs, **options)
    simulator.run()
    return simulator


def because(simulator: Simulator) -> dict[str, str]:
    return {r["instance"]: r["because"] for r in simulator.records("job.skipped")}


# Conditions


def test_a_dependent_starts_when_its_dependency_completed() -> None:
    simulator = simulate({"a": Run(duration=3)}, unit("a"), unit("b", "a"))
    assert simulator.times(Start, "b") == [3.0]


def test_a_dependent_starts_when_its_dependency_started() -> None:
    simulator = simulate({"a": Run(5, start_s=2)}, unit("a"), unit("b", Dependency("a")))
    assert simulator.times(Start, "b") == [2.0]


def test_a_dependent_starts_when_its_dependency_is_healthy() -> None:
    db = unit("db", role="support", health=HEALTH)
    simulator = simulate(
        {"db": Run(duration=99, probes=(1, 0), probe_s=0.5)},
        db,
        unit("app", Dependency("db", "service_healthy")),
    )
    assert simulator.times(Probe, "db")[:2] == [1.0, 2.5]
    assert simulator.times(Start, "app") == [3.0]
    statuses = [r["status"] for r in simulator.records("container.health")]
    assert statuses == ["starting", "healthy"]


def test_a_dependent_waits_for_every_instance() -> None:
    units = [unit(f"a-{n}", service="a") for n in (1, 2)]
    simulator = simulate({"a-2": Run(duration=4)}, *units, unit("b", "a-1", "a-2"))
    assert simulator.times(Start, "b") == [4.0]


def test_dependents_of_a_failure_are_skipped_at_once_down_the_chain() -> None:
    units = unit("a"), unit("slow"), unit("b", "a", "slow"), unit("c", "b")
    simulator = simulate({"a": fails(1), "slow": Run(duration=50)}, *units)
    assert because(simulator) == {"b": "a", "c": "a"}
    finished = [
        when
        for when, c in simulator.log
        if getattr(c, "event", "") == "job.skipped"
    ]  # fmt: skip
    assert finished == [1.0, 1.0]


def test_a_chain_of_skips_needs_no_stack() -> None:
    units = [unit("u0")] + [unit(f"u{n}", f"u{n - 1}") for n in range(1, 5000)]
    simulator = simulate({"u0": fails(1)}, *units)
    assert simulator.machine.result().totals == {"exit": 1, "skipped": 4999}


def test_a_dependency_that_ends_before_it_is_healthy_is_unhealthy() -> None:
    db = unit("db", role="support", health=HEALTH)
    app = unit("app", Dependency("db", "service_healthy"))
    result = simulate({"db": Run(duration=0.5)}, db, app).machine.result()
    assert (result.exit_code, verdicts(result)) == (1, {"db": "unhealthy", "app": "skipped"})


def test_an_unhealthy_job_that_nobody_waits_for_is_judged_by_its_exit() -> None:
    job = unit("a", health=HEALTH)
    result = simulate({"a": Run(duration=9, probes=(1,))}, job).machine.result()
    assert verdicts(result) == {"a": "ok"}


def test_unhealthy_later_leaves_dependents_alone() -> None:
    db = unit("db", role="support", health=HEALTH)
    app = unit("app", Dependency("db", "service_healthy"))
    simulator = simulate({"db": Run(99, probes=(0, 1, 1)), "app": Run(9)}, db, app)
    assert verdicts(simulator.machine.result()) == {"db": "ok", "app": "ok"}


def test_an_allowed_failure_lets_dependents_run() -> None:
    units = unit("a", allow_failure=True), unit("b", "a")
    result = simulate({"a": fails(1)}, *units).machine.result()
    assert (result.exit_code, verdicts(result)) == (0, {"a": "exit", "b": "ok"})
    assert result.outcomes["a"].allowed


def test_an_allowed_code_lets_dependents_run() -> None:
    units = unit("a", allow_failure_codes=frozenset({77})), unit("b", "a")
    assert simulate({"a": fails(77)}, *units).machine.result().exit_code == 0
    assert simulate({"a": fails(1)}, *units).machine.result().exit_code == 1


def test_an_optional_dependency_that_is_not_in_the_plan_is_dropped() -> None:
    simulator = simulate({}, unit("a", Dependency("off", required=False)))
    assert verdicts(simulator.machine.result()) == {"a": "ok"}


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ((unit("a", "x"),), "'x', which is not in the plan"),
        ((unit("b", "a"), unit("a")), "'b' comes before 'a'"),
        ((unit("a"), unit("b", Dependency("a", "service_healthy"))), "has no healthcheck"),
    ],
)
def test_an_unsound_plan_is_refused(units: Any, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        Simulator(plan(*units))


# when


@pytest.mark.parametrize(
    ("when", "code", "expected"),
    [
        ("on_success", 0, "ok"),
        ("on_success", 1, "skipped"),
        ("on_failure", 0, "skipped"),
        ("on_failure", 1, "ok"),
        ("always", 0, "ok"),
        ("always", 1, "ok"),
    ],
)
def test_when(when: Any, code: int, expected: str) -> None:
    simulator = simulate({"a": fails(code)}, unit("a"), unit("b", "a", when=when))
    assert verdicts(simulator.machine.result())["b"] == expected


def test_always_waits_for_all_dependencies() -> None:
    units = unit("a"), unit("slow"), unit("z", "a", "slow", when="always")
    simulator = simulate({"a": fails(1), "slow": Run(duration=9)}, *units)
    assert simulator.times(Start, "z") == [9.0]


def test_what_did_not_have_to_run_is_no_failure_to_others() -> None:
    b, d = unit("b", "a", when="on_failure"), unit("d", "b", when="on_failure")
    units = unit("a"), b, unit("c", "b"), d
    simulator = simulate({}, *units)
    assert because(simulator) == {"b": "no_failure", "c": "b", "d": "b"}
    assert simulator.machine.result().exit_code == 0


# Support services


def chain_of_support() -> list[Any]:
    return [
        unit("db", role="support"),
        unit("api", Dependency("db"), role="support"),
        unit("test", Dependency("api")),
        unit("late", "test"),
    ]


def test_support_stops_in_reverse_order_when_no_job_needs_it() -> None:
    runs = {"db": FOREVER, "api": Run(duration=99, stop_s=0.5), "late": Run(duration=5)}
    simulator = simulate(runs, *chain_of_support())
    assert simulator.order(Stop) == ["api", "db"]
    assert simulator.times(Stop, "api") == [1.0]
    assert simulator.times(Stop, "db") == [1.5]
    assert [c.reason for c in simulator.commands(Stop)] == ["not_needed"] * 2
    assert simulator.machine.result().totals == {"ok": 4}


def test_support_that_ignores_the_stop_signal_is_killed_after_its_grace_period() -> None:
    db = unit("db", role="support", stop_signal=3, stop_grace_s=4)
    simulator = simulate({"db": Run(99, stop_s=None)}, db, unit("a", Dependency("db")))
    assert simulator.times(Kill, "db") == [5.0]
    signals = [r["signal"] for r in simulator.records("container.stopping")]
    assert signals == ["SIGQUIT", "SIGKILL"]
    assert verdicts(simulator.machine.result())["db"] == "ok"


def test_the_grace_period_of_the_command_line_wins() -> None:
    db = unit("db", role="support", stop_grace_s=4)
    runs = {"db": Run(99, stop_s=None)}
    simulator = simulate(runs, db, unit("a", Dependency("db")), stop_grace_s=1.0)
    assert simulator.times(Kill, "db") == [2.0]


def test_support_that_fails_fails_the_run() -> None:
    units = unit("db", role="support"), unit("a", Dependency("db"))
    simulator = simulate({"db": fails(2), "a": Run(duration=5)}, *units)
    result = simulator.machine.result()
    assert (result.exit_code, verdicts(result)) == (1, {"db": "exit", "a": "ok"})


def test_support_that_failed_does_not_serve_those_who_have_not_begun() -> None:
    units = unit("db", role="support"), unit("slow"), unit("b", "slow", Dependency("db"))
    simulator = simulate({"db": fails(2), "slow": Run(duration=5)}, *units)
    assert because(simulator) == {"b": "db"}


def test_support_that_ends_well_by_itself_is_warned_of() -> None:
    units = unit("db", role="support"), unit("a", Dependency("db"))
    simulator = simulate({"a": Run(duration=5)}, *units)
    assert simulator.machine.result().exit_code == 0
    (record,) = simulator.records("job.warned")
    assert record["instance"] == "db"
    assert "role: job" in record["hint"]


def test_support_that_nobody_needs_in_particular_serves_the_whole_run() -> None:
    side = unit("side", role="support")
    simulator = simulate({"side": FOREVER, "b": Run(duration=4)}, side, unit("a"), unit("b"))
    assert simulator.times(Stop, "side") == [4.0]


def test_a_plan_of_services_only_lives_until_they_end() -> None:
    simulator = simulate({"db": Run(duration=7)}, unit("db", role="support"))
    assert verdicts(simulator.machine.result()) == {"db": "ok"}
    assert simulator.now == 7
    assert simulator.machine.result().exit_code == 0


def test_an_optional_dependency_that_ends_before_it_is_healthy_is_warned_of() -> None:
    db = unit("db", health=HEALTH)
    app = unit("app", Dependency("db", "service_healthy", required=False))
    simulator = simulate({"db": Run(duration=0.5)}, db, app)
    assert verdicts(simulator.machine.result()) == {"db": "ok", "app": "ok"}
    assert [r["instance"] for r in simulator.records("job.warned")] == ["app"]


def test_support_is_not_started_for_skipped_jobs() -> None:
    db = unit("db", "init", role="support")
    units = unit("init"), unit("a"), db, unit("b", "a", Dependency("db"))
    simulator = simulate({"a": fails(1), "init": Run(duration=5)}, *units)
    assert because(simulator) == {"b": "a", "db": "not_needed"}


def test_support_starting_when_it_becomes_needless_is_stopped_once_started() -> None:
    db = unit("db", role="support")
    units = db, unit("a"), unit("b", "a", Dependency("db"))
    simulator = simulate({"db": Run(99, start_s=3), "a": fails(1)}, *units)
    assert simulator.times(Stop, "db") == [3.0]
    assert verdicts(simulator.machine.result())["db"] == "ok"


def test_a_job_that_survives_an_oom_kill_is_warned_of() -> None:
    simulator = simulate({"a": Run(evidence={"memory.oom_kills": 2})}, unit("a"))
    assert verdicts(simulator.machine.result()) == {"a": "ok"}
    assert "2 of its processes" in simulator.records("job.warned")[0]["message"]


# Slots


def test_parallel_counts_running_jobs_only() -> None:
    db = unit("db", role="support")
    jobs = [unit(f"j{n}", Dependency("db")) for n in range(4)]
    simulator = simulate({"db": FOREVER}, db, *jobs, parallel=1)
    assert [simulator.times(Start, job.name) for job in jobs] == [[0.0], [1.0], [2.0], [3.0]]


def test_parallel_zero_is_no_limit() -> None:
    jobs = [unit(f"j{n}") for n in range(50)]
    simulator = simulate({}, *jobs, parallel=0)
    assert {simulator.times(Start, job.name)[0] for job in jobs} == {0.0}


def test_a_job_waiting_for_its_retry_holds_no_slot() -> None:
    units = unit("a", retry=Retry(1, delay_s=10)), unit("b")
    simulator = simulate({"a": [fails(1), Run()]}, *units, parallel=1)
    assert simulator.times(Start, "b") == [1.0]
    assert simulator.times(Start, "a") == [0.0, 11.0]


def test_a_full_matrix_lets_other_jobs_pass() -> None:
    units = [unit(f"m{n}", matrix="m") for n in range(3)] + [unit("other")]
    simulator = Simulator(plan(*units, matrices={"m": MatrixGroup(max_parallel=1)}))
    simulator.run()
    starts = [simulator.times(Start, name)[0] for name in ("m0", "m1", "m2", "other")]
    assert starts == [0.0, 1.0, 2.0, 0.0]


def test_a_matrix_goes_on_after_a_parked_job_was_cancelled() -> None:
    support = unit("db", role="support")
    units = [
        support,
        unit("x"),
        unit("m0", matrix="m"),
        unit("m1", Dependency("db"), matrix="m"),
        unit("m2", "x", matrix="m"),
    ]
    runs = {"db": fails(1, duration=0.5), "x": Run(duration=0.2)}
    simulator = Simulator(plan(*units, matrices={"m": MatrixGroup(max_parallel=1)}), runs)
    assert verdicts(simulator.run())["m2"] == "ok"
    assert because(simulator) == {"m1": "db"}


def test_matrix_fail_fast_cancels_its_own_jobs_only() -> None:
    units = [unit(f"m{n}", matrix="m") for n in range(3)] + [unit("other")]
    runs = {"m0": fails(1), "m1": FOREVER, "other": Run(duration=5)}
    groups = {"m": MatrixGroup(max_parallel=2, fail_fast=True)}
    result = Simulator(plan(*units, matrices=groups), runs).run()
    assert verdicts(result) == {"m0": "exit", "m1": "cancelled", "m2": "cancelled", "other": "ok"}


def test_every_attempt_that_was_judged_has_one_verdict() -> None:
    simulator = simulate({"a": fails(1)}, unit("a"), unit("b", "a"))
    assert simulator.commands(Verdict) == [Verdict("a", 1, "exit", "done")]
