"""The rows of the table of exit codes that the scheduler decides."""

from __future__ import annotations

from typing import Any

import pytest

from gocker.errors import UsageError
from gocker.plan.model import Dependency, Healthcheck, Restart
from gocker.scheduler.messages import Interrupted, LauncherLost, Result
from tests.unit.scheduler.simulator import (
    FOREVER,
    Run,
    Simulator,
    fails,
    plan,
    unit,
    verdicts,
)

NOT_FOUND = {"type": "CommandNotFound", "message": "no such program 'x'"}
HOST = {"type": "HostError", "message": "no memory controller"}
# As `sleep` as PID 1: deaf to SIGTERM, so the kill after the grace period ends it.
DEAF = Run(duration=float("inf"), stop_s=None)


def up(runs: dict[str, Any], *units: Any, **options: Any) -> Result:
    units = units or tuple(unit(name) for name in runs)
    return Simulator(plan(*units), runs, **options).run()


def test_all_jobs_ok() -> None:
    result = up({"a": Run(), "b": Run()})
    assert (result.exit_code, result.reason, result.totals) == (0, "jobs_ok", {"ok": 2})


def test_a_failing_service_fails_the_run() -> None:
    result = up({"a": fails(3)})
    assert (result.exit_code, result.reason) == (1, "job_failed")


def test_one_failing_service_of_two_fails_the_run() -> None:
    assert up({"a": Run(), "b": fails(3)}).exit_code == 1


def test_an_oom_kill_fails_the_run_and_says_so() -> None:
    result = up({"a": Run(code=None, signal=9, evidence={"memory.oom_kills": 1})})
    assert (result.exit_code, verdicts(result)) == (1, {"a": "oom"})


def test_abort_on_container_exit_returns_the_first_ones_zero() -> None:
    result = up({"a": Run(), "b": DEAF}, abort_on_container_exit=True)
    assert result.exit_code == 0
    assert verdicts(result) == {"a": "ok", "b": "cancelled"}
    assert result.outcomes["b"].exit_code == 137


def test_abort_on_container_exit_returns_the_first_ones_code() -> None:
    result = up({"a": fails(3), "b": FOREVER}, abort_on_container_exit=True)
    assert (result.exit_code, verdicts(result)) == (3, {"a": "exit", "b": "cancelled"})


def test_abort_on_container_exit_lets_steps_complete() -> None:
    units = unit("init"), unit("a", "init"), unit("b", "init")
    result = up({"a": fails(4), "b": FOREVER}, *units, abort_on_container_exit=True)
    assert (result.exit_code, verdicts(result)["init"]) == (4, "ok")


def test_abort_on_container_exit_passes_over_what_gocker_stopped() -> None:
    db = unit("db", role="support")
    units = db, unit("init", Dependency("db")), unit("a", "init")
    runs = {"db": FOREVER, "a": fails(4, duration=5)}
    assert up(runs, *units, abort_on_container_exit=True).exit_code == 4


def test_abort_on_container_failure_passes_over_a_success() -> None:
    runs = {"a": Run(), "b": fails(3, duration=5), "c": FOREVER}
    assert up(runs, abort_on_container_failure=True).exit_code == 3


def test_abort_on_container_failure_of_successes() -> None:
    assert up({"a": Run(), "b": Run()}, abort_on_container_failure=True).exit_code == 0


def test_abort_on_container_failure_passes_over_an_allowed_failure() -> None:
    units = unit("a", allow_failure=True), unit("b")
    runs = {"a": fails(3), "b": Run(duration=5)}
    assert up(runs, *units, abort_on_container_failure=True).exit_code == 0


def test_exit_code_from_returns_that_code_and_stops_the_rest() -> None:
    result = up({"a": fails(7), "b": FOREVER}, exit_code_from="a")
    assert (result.exit_code, verdicts(result)["b"]) == (7, "cancelled")


def test_exit_code_from_stops_the_rest_after_a_success_too() -> None:
    result = up({"a": Run(), "b": FOREVER}, exit_code_from="a")
    assert (result.exit_code, verdicts(result)["b"]) == (0, "cancelled")


def test_exit_code_from_0_does_not_hide_the_failure_of_another() -> None:
    runs = {"a": Run(duration=float("inf"), stop_code=0), "b": fails(9)}
    result = up(runs, exit_code_from="a")
    assert (result.exit_code, result.reason) == (0, "job_failed")


def test_exit_code_from_waits_when_another_succeeds_first() -> None:
    assert up({"a": fails(7, duration=5), "b": Run()}, exit_code_from="a").exit_code == 7


def test_exit_code_from_with_abort_on_failure_waits_when_another_succeeds_first() -> None:
    runs = {"a": fails(7, duration=5), "b": Run()}
    result = up(runs, exit_code_from="a", abort_on_container_failure=True)
    assert result.exit_code == 7


def test_exit_code_from_is_the_aborted_ones_code_when_another_fails_first() -> None:
    runs = {"a": DEAF, "b": fails(9)}
    result = up(runs, exit_code_from="a", abort_on_container_failure=True)
    assert (result.exit_code, result.outcomes["b"].exit_code) == (137, 9)


def test_exit_code_from_wins_over_a_failure() -> None:
    runs = {"a": Run(duration=5), "b": fails(9)}
    units = unit("a"), unit("b", allow_failure=True)
    assert up(runs, *units, exit_code_from="a").exit_code == 0


def test_exit_code_from_a_service_takes_its_first_code_that_is_not_zero() -> None:
    units = [unit(f"a-{n}", service="a", allow_failure=True) for n in (1, 2, 3)]
    runs = {"a-2": fails(5, duration=3), "a-3": fails(6, duration=1)}
    assert up(runs, *units, exit_code_from="a").exit_code == 5


def test_exit_code_from_what_could_not_start() -> None:
    assert up({"a": Run(error=NOT_FOUND)}, exit_code_from="a").exit_code == 127


def test_exit_code_from_what_never_ran_is_the_runs_own() -> None:
    units = unit("b"), unit("a", "b")
    assert up({"b": fails(9)}, *units, exit_code_from="a").exit_code == 1


def test_exit_code_from_needs_a_service() -> None:
    with pytest.raises(UsageError, match="no such service: 'x'"):
        up({"a": Run()}, exit_code_from="x")


def test_a_failed_dependency_fails_the_run_and_leaves_nothing_running() -> None:
    db = unit("db", role="support")
    units = db, unit("dep"), unit("app", "dep", Dependency("db"))
    simulator = Simulator(plan(*units), {"dep": fails(4), "db": FOREVER})
    result = simulator.run()
    assert (result.exit_code, verdicts(result)) == (
        1,
        {"db": "ok", "dep": "exit", "app": "skipped"},
    )
    assert simulator.watch.alive == {}


def test_a_failed_dependency_that_is_not_required_is_a_warning() -> None:
    optional = Dependency("dep", "service_completed_successfully", required=False)
    simulator = Simulator(plan(unit("dep"), unit("app", optional)), {"dep": fails(4)})
    assert simulator.run().exit_code == 0
    assert [record["instance"] for record in simulator.records("job.warned")] == ["app"]


def test_an_unhealthy_dependency_fails_the_run() -> None:
    db = unit("db", role="support", health=Healthcheck(("x",), interval_s=1, retries=2))
    app = unit("app", Dependency("db", "service_healthy"))
    result = up({"db": Run(duration=float("inf"), probes=(1,))}, db, app)
    assert (result.exit_code, verdicts(result)) == (1, {"db": "unhealthy", "app": "skipped"})


def test_a_program_that_is_not_there_fails_the_run() -> None:
    result = up({"a": Run(error=NOT_FOUND), "b": Run()})
    assert (result.exit_code, verdicts(result)) == (1, {"a": "start_failed", "b": "ok"})


def test_a_failure_of_the_host_is_3() -> None:
    result = up({"a": Run(error=HOST)})
    assert (result.exit_code, result.reason, result.error) == (3, "error", HOST)


def test_restart_on_failure_that_never_succeeds_fails_the_run() -> None:
    simulator = Simulator(plan(unit("a", restart=Restart("on-failure", 2))), {"a": fails(3)})
    result = simulator.run()
    assert (result.exit_code, result.outcomes["a"].attempts) == (1, 3)


@pytest.mark.parametrize(("signal", "expected"), [(2, 130), (15, 143)])
def test_interrupted(signal: int, expected: int) -> None:
    simulator = Simulator(plan(unit("a")), {"a": FOREVER}).at(1.0, Interrupted(signal))
    result = simulator.run()
    assert (result.exit_code, result.reason) == (expected, "interrupted")


def test_run_timeout() -> None:
    result = up({"a": FOREVER}, max_time_s=5.0)
    assert (result.exit_code, result.reason, verdicts(result)) == (
        124,
        "run_timeout",
        {"a": "timeout"},
    )


def test_the_launcher_lost() -> None:
    lost = LauncherLost({"type": "InternalError", "message": "m"})
    result = Simulator(plan(unit("a"), unit("b", "a")), {"a": FOREVER}).at(1.0, lost).run()
    assert (result.exit_code, result.reason, result.error) == (3, "error", lost.error)
    assert verdicts(result) == {"a": "cancelled", "b": "cancelled"}


def test_an_interrupt_wins_over_exit_code_from() -> None:
    simulator = Simulator(plan(unit("a")), {"a": FOREVER}, exit_code_from="a")
    assert simulator.at(1.0, Interrupted(2)).run().exit_code == 130


def test_a_lost_launcher_wins_over_an_interrupt() -> None:
    simulator = Simulator(plan(unit("a")), {"a": Run(duration=9, stop_s=None)})
    simulator.at(1.0, Interrupted(2)).at(2.0, LauncherLost(HOST))
    assert simulator.run().exit_code == 3


def test_an_empty_plan_is_over_at_once() -> None:
    assert up({}).exit_code == 0
