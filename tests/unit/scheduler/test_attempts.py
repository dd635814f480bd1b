"""Timeouts, retries, restarts, interrupts, fail-fast, --wait: the life of attempts."""

from __future__ import annotations

from typing import Any

import pytest

from gocker.plan.model import Dependency, Healthcheck, Restart, Retry
from gocker.scheduler.machine import Machine
from gocker.scheduler.messages import (
    Answer,
    Exited,
    Interrupted,
    Kill,
    Oom,
    ProbeDone,
    Start,
    Started,
    Stop,
    Verdict,
    signal_name,
)
from tests.unit.scheduler.simulator import (
    FOREVER,
    Run,
    Simulator,
    fails,
    plan,
    unit,
    verdicts,
)

DEAF = Run(duration=float("inf"), stop_s=None)
HEALTH = Healthcheck(("true",), interval_s=1, retries=2)


def simulate(runs: dict[str, Any], *units: Any, **options: Any) -> Simulator:
    simulator = Simulator(plan(*units), runs, **options)
    simulator.run()
    return simulator


# Timeouts


def test_a_timeout_stops_then_kills() -> None:
    simulator = simulate({"a": DEAF}, unit("a", timeout_s=5, stop_grace_s=2))
    assert simulator.times(Stop, "a") == [5.0]
    assert simulator.times(Kill, "a") == [7.0]
    assert verdicts(simulator.machine.result()) == {"a": "timeout"}


def test_a_timeout_counts_from_the_start_of_the_program() -> None:
    simulator = simulate({"a": Run(99, start_s=3)}, unit("a", timeout_s=5))
    assert simulator.times(Stop, "a") == [8.0]


def test_a_start_that_hangs_is_killed() -> None:
    simulator = simulate({"a": Run(start_s=99)}, unit("a", timeout_s=5))
    assert simulator.times(Kill, "a") == [5.0]
    assert verdicts(simulator.machine.result()) == {"a": "timeout"}


def test_a_job_that_ends_in_time_is_left_alone() -> None:
    assert simulate({}, unit("a", timeout_s=5)).commands(Stop) == []


def test_each_attempt_that_ignores_the_stop_is_killed() -> None:
    job = unit("a", timeout_s=5, stop_grace_s=1, retry=Retry(1))
    assert simulate({"a": DEAF}, job).times(Kill, "a") == [6.0, 12.0]


def test_a_code_after_a_timeout_is_not_an_allowed_one() -> None:
    job = unit("a", timeout_s=5, allow_failure_codes=frozenset({143}))
    assert simulate({"a": FOREVER}, job).machine.result().exit_code == 1


def test_each_attempt_has_its_own_timeout() -> None:
    job = unit("a", timeout_s=5, retry=Retry(1, ("timeout",), delay_s=1))
    simulator = simulate({"a": [FOREVER, Run(duration=4)]}, job)
    assert verdicts(simulator.machine.result()) == {"a": "ok"}
    assert simulator.times(Start, "a") == [0.0, 6.0]


def test_the_run_timeout_stops_everything_and_starts_nothing() -> None:
    db = unit("db", role="support")
    units = db, unit("a", Dependency("db")), unit("clean", "a", when="always")
    simulator = simulate({"db": FOREVER, "a": FOREVER}, *units, max_time_s=5.0)
    expected = {"db": "ok", "a": "timeout", "clean": "cancelled"}
    assert verdicts(simulator.machine.result()) == expected
    assert simulator.order(Stop) == ["a", "db"]


# Retries and restarts


def test_a_retry_is_a_new_attempt_after_its_delay() -> None:
    job = unit("a", retry=Retry(2, delay_s=1, backoff=3))
    simulator = simulate({"a": [fails(1), fails(1), Run()]}, job)
    assert simulator.times(Start, "a") == [0.0, 2.0, 6.0]
    assert [v.next for v in simulator.commands(Verdict)] == ["retry", "retry", "done"]
    assert [r["delay_s"] for r in simulator.records("job.retry")] == [1, 3]
    assert simulator.machine.result().outcomes["a"].attempts == 3


def test_a_failure_that_retry_does_not_name_is_final() -> None:
    simulator = simulate({"a": fails(1)}, unit("a", retry=Retry(5, ("oom", "exit:75"))))
    assert simulator.times(Start, "a") == [0.0]


def test_what_could_not_start_is_retried() -> None:
    broken = Run(error={"type": "ContainerError", "message": "m"})
    simulator = simulate({"a": [broken, Run()]}, unit("a", retry=Retry(1, ("start_failed",))))
    assert verdicts(simulator.machine.result()) == {"a": "ok"}


def test_dependents_wait_for_the_last_attempt() -> None:
    units = unit("a", retry=Retry(1)), unit("b", "a")
    simulator = simulate({"a": [fails(1), Run()]}, *units)
    assert simulator.times(Start, "b") == [2.0]


def test_an_oom_of_an_earlier_attempt_does_not_count() -> None:
    job = unit("a", retry=Retry(1))
    simulator = Simulator(plan(job), {"a": fails(1, duration=2)}).at(1.0, Oom("a", 1))
    simulator.run()
    assert [v.verdict for v in simulator.commands(Verdict)] == ["oom", "exit"]


def test_support_restarts_while_it_is_needed() -> None:
    db = unit("db", role="support", restart=Restart("always", delay_s=1))
    runs = {"db": [fails(1), Run(), FOREVER], "a": Run(duration=10)}
    simulator = simulate(runs, db, unit("a", Dependency("db")))
    assert simulator.times(Start, "db") == [0.0, 2.0, 4.0]
    assert simulator.machine.result().exit_code == 0


def test_support_that_restarts_too_often_fails() -> None:
    db = unit("db", role="support", restart=Restart("on-failure", 1, delay_s=1))
    simulator = simulate({"db": fails(3), "a": Run(duration=10)}, db, unit("a", Dependency("db")))
    assert simulator.machine.result().exit_code == 1
    assert simulator.machine.result().outcomes["db"].attempts == 2


def test_support_about_to_restart_when_no_longer_needed_is_an_allowed_failure() -> None:
    db = unit("db", role="support", restart=Restart("always", delay_s=5))
    simulator = simulate({"db": fails(3), "a": Run(duration=2)}, db, unit("a", Dependency("db")))
    result = simulator.machine.result()
    assert (result.exit_code, result.outcomes["db"].allowed) == (0, True)
    assert simulator.now == 2.0


def test_what_gocker_stopped_is_not_restarted() -> None:
    db = unit("db", role="support", restart=Restart("always"))
    simulator = simulate({"db": FOREVER}, db, unit("a", Dependency("db")))
    assert simulator.times(Start, "db") == [0.0]


# Interrupts


def test_the_first_interrupt_stops_dependents_first_and_cancels_the_rest() -> None:
    db = unit("db", role="support")
    units = db, unit("a", Dependency("db")), unit("b", "a"), unit("c", "a", when="always")
    simulator = Simulator(plan(*units), {"db": FOREVER, "a": Run(99, stop_s=2)})
    result = simulator.at(1.0, Interrupted(2)).run()
    assert simulator.times(Stop, "a") == [1.0]
    assert simulator.times(Stop, "db") == [3.0]
    assert verdicts(result) == {"db": "ok", "a": "cancelled", "b": "cancelled", "c": "cancelled"}
    assert simulator.records("run.interrupted") == [{"signal": "SIGINT"}]


def test_the_second_interrupt_kills() -> None:
    db = unit("db", role="support")
    simulator = Simulator(plan(db, unit("a", Dependency("db"))), {"db": DEAF, "a": DEAF})
    simulator.at(1.0, Interrupted(2)).at(2.0, Interrupted(15))
    assert simulator.run().exit_code == 130
    assert (simulator.times(Kill, "a"), simulator.times(Kill, "db")) == ([2.0], [2.0])


def test_the_first_reason_to_stop_counts() -> None:
    simulator = Simulator(plan(unit("a")), {"a": Run(99, stop_s=8)}, max_time_s=5.0)
    assert simulator.at(1.0, Interrupted(2)).run().exit_code == 130
    simulator = Simulator(plan(unit("a")), {"a": Run(99, stop_s=8)}, max_time_s=5.0)
    assert simulator.at(6.0, Interrupted(2)).run().exit_code == 124


def test_a_start_that_overtakes_its_kill_is_not_stopped_again() -> None:
    machine = Machine(plan(unit("a")))
    machine.begin(0)
    machine.handle(Interrupted(2), 1)
    machine.handle(Interrupted(2), 2)
    assert machine.handle(Started("a", 1), 3) == []


def test_a_killed_container_is_not_probed_again() -> None:
    db = unit("db", role="support", health=HEALTH)
    machine = Machine(plan(db, unit("a", Dependency("db"))))
    machine.begin(0)
    machine.handle(Started("db", 1), 0)
    machine.tick(1)
    machine.handle(Interrupted(2), 1)
    machine.handle(Interrupted(2), 1)
    assert machine.handle(ProbeDone("db", 1, 0), 2) == []
    assert machine.deadline() is None


def test_the_second_interrupt_kills_what_is_starting() -> None:
    simulator = Simulator(plan(unit("a")), {"a": Run(start_s=99)})
    simulator.at(1.0, Interrupted(2)).at(2.0, Interrupted(2))
    assert verdicts(simulator.run()) == {"a": "cancelled"}
    assert simulator.times(Kill, "a") == [2.0]


def test_an_interrupt_ends_a_delay() -> None:
    simulator = Simulator(plan(unit("a", retry=Retry(1, delay_s=99))), {"a": fails(1)})
    assert verdicts(simulator.at(5.0, Interrupted(15)).run()) == {"a": "cancelled"}
    assert simulator.now == 5.0


def test_nothing_is_retried_after_an_interrupt() -> None:
    units = unit("a", retry=Retry(5)), unit("b", Dependency("a"))
    runs = {"a": fails(1, duration=3), "b": Run(99, stop_s=4)}
    simulator = Simulator(plan(*units), runs).at(1.0, Interrupted(2))
    simulator.run()
    assert simulator.times(Start, "a") == [0.0]


# fail_fast


def test_fail_fast_skips_dependents_and_cancels_the_rest() -> None:
    units = unit("a"), unit("b", "a"), unit("c"), unit("d", "c")
    simulator = simulate({"a": fails(1), "c": FOREVER}, *units, fail_fast=True)
    expected = {"a": "exit", "b": "skipped", "c": "cancelled", "d": "cancelled"}
    assert verdicts(simulator.machine.result()) == expected
    assert [c.reason for c in simulator.commands(Stop)] == ["fail_fast"]


def test_without_fail_fast_the_rest_goes_on() -> None:
    simulator = simulate({"a": fails(1), "c": Run(duration=5)}, unit("a"), unit("c"))
    assert verdicts(simulator.machine.result())["c"] == "ok"


def test_fail_fast_lets_cleaners_run_with_the_support_they_need() -> None:
    db = unit("db", role="support")
    clean = unit("clean", "c", Dependency("db"), when="always")
    units = db, unit("a"), unit("c"), clean
    simulator = simulate({"db": FOREVER, "a": fails(1), "c": FOREVER}, *units, fail_fast=True)
    assert verdicts(simulator.machine.result())["clean"] == "ok"
    assert simulator.times(Stop, "db") == [2.0]


def test_fail_fast_passes_over_an_allowed_failure() -> None:
    units = unit("a", allow_failure=True), unit("c")
    simulator = simulate({"a": fails(1), "c": Run(duration=5)}, *units, fail_fast=True)
    assert simulator.machine.result().exit_code == 0


# --wait


def ready(simulator: Simulator) -> list[tuple[float, int]]:
    return [(when, c.exit_code) for when, c in simulator.log if isinstance(c, Answer)]


def test_wait_is_over_when_all_run_are_healthy_or_have_completed() -> None:
    web = unit("web", "init", health=HEALTH)
    runs = {"init": Run(duration=2), "web": Run(duration=9)}
    assert ready(simulate(runs, unit("init"), web, wait=True)) == [(3.0, 0)]


@pytest.mark.parametrize("duration", [0.0, 1.0])
def test_wait_for_a_job_is_0_however_short_it_is(duration: float) -> None:
    assert ready(simulate({"a": Run(duration)}, unit("a"), wait=True))[0][1] == 0


def test_wait_fails_with_the_first_failure() -> None:
    runs = {"a": fails(1, duration=3), "web": Run(duration=9, probes=(1,))}
    web = unit("web", health=Healthcheck(("x",), interval_s=5))
    assert ready(simulate(runs, unit("a"), web, wait=True)) == [(3.0, 1)]


def test_wait_fails_with_an_unhealthy_unit() -> None:
    runs = {"a": Run(duration=9, probes=(1,))}
    assert ready(simulate(runs, unit("a", health=HEALTH), wait=True)) == [(2.0, 1)]


def test_without_wait_nothing_is_said() -> None:
    assert ready(simulate({}, unit("a"))) == []


# Events out of season


def test_events_of_an_earlier_attempt_are_ignored() -> None:
    machine = Machine(plan(unit("a", retry=Retry(1))))
    machine.begin(0)
    machine.handle(Started("a", 1), 0)
    machine.handle(Exited("a", 1, 1), 1)
    assert machine.handle(Exited("a", 1, 1), 2) == []
    assert not machine.done


def test_a_probe_that_ends_after_the_stop_is_ignored() -> None:
    machine = Machine(plan(unit("a", health=HEALTH)))
    machine.begin(0)
    machine.handle(Started("a", 1), 0)
    machine.tick(1)
    machine.handle(Interrupted(2), 1)
    assert machine.handle(ProbeDone("a", 1, 0), 2) == []


def test_an_exit_without_a_start_is_taken() -> None:
    machine = Machine(plan(unit("a")))
    machine.begin(0)
    machine.handle(Exited("a", 1, 0), 1)
    assert machine.done


def test_nothing_is_answered_after_the_end() -> None:
    machine = Machine(plan(unit("a")))
    machine.begin(0)
    machine.handle(Exited("a", 1, 0), 1)
    assert (machine.handle(Interrupted(2), 2), machine.tick(2)) == ([], [])


@pytest.mark.parametrize(
    ("number", "name"), [(15, "SIGTERM"), (34, "SIGRTMIN"), (37, "SIGRTMIN+3")]
)
def test_signal_names(number: int, name: str) -> None:
    assert signal_name(number) == name
