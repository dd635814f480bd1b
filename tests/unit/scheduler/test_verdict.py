from __future__ import annotations

from typing import Any

import pytest

from gocker.plan.model import Restart, Retry, Unit
from gocker.scheduler.messages import Exited
from gocker.scheduler.verdict import (
    is_allowed,
    judge,
    restart_delay,
    retry_delay,
    wants_restart,
    wants_retry,
)

OOM = {"memory.oom_kills": 1}
PIDS = {"pids.denied": 5}


def unit(**fields: Any) -> Unit:
    return Unit(name="u", service="u", image="i", **fields)


def exited(code: int | None = None, signal: int | None = None, **evidence: Any) -> Exited:
    return Exited("u", 1, code, signal, evidence)


@pytest.mark.parametrize(
    ("event", "stop_reason", "expected"),
    [
        (exited(0), None, "ok"),
        (exited(3), None, "exit"),
        (exited(signal=11), None, "signal"),
        (exited(signal=9, **OOM), None, "oom"),
        (exited(1, **OOM), None, "oom"),
        (exited(0, **OOM), None, "ok"),
        (exited(1, **PIDS), None, "pids"),
        (exited(0, **PIDS), None, "ok"),
        (exited(1, **PIDS, **OOM), None, "oom"),
        (exited(1, **{"memory.oom_kills": None, "pids.denied": None}), None, "exit"),
        (exited(signal=15), "timeout", "timeout"),
        (exited(0), "timeout", "timeout"),
        (exited(signal=9, **PIDS), "timeout", "pids"),
        (exited(signal=9, **OOM), "timeout", "oom"),
        (exited(signal=15), "run_timeout", "timeout"),
        (exited(signal=9, **PIDS), "run_timeout", "pids"),
        (exited(signal=15), "interrupted", "cancelled"),
        (exited(0), "fail_fast", "cancelled"),
        (exited(signal=9, **OOM), "abort", "cancelled"),
    ],
)
def test_verdict_of_a_job(event: Exited, stop_reason: str | None, expected: str) -> None:
    assert judge(unit(), event, stop_reason) == expected


@pytest.mark.parametrize("reason", ["not_needed", "interrupted", "run_timeout", "abort"])
def test_a_forced_stop_is_no_failure_of_a_support_service(reason: str) -> None:
    assert judge(unit(role="support"), exited(signal=9), reason) == "ok"


def test_a_support_service_has_its_own_timeout() -> None:
    assert judge(unit(role="support"), exited(signal=15), "timeout") == "timeout"


def test_oom_events_count_where_the_cgroup_has_no_counter() -> None:
    assert judge(unit(), exited(1), None, oom_kills=1) == "oom"


def test_success_codes_name_codes_and_signals_as_the_shell_does() -> None:
    lenient = unit(success_codes=frozenset({0, 4, 143}))
    assert judge(lenient, exited(4), None) == "ok"
    assert judge(lenient, exited(signal=15), None) == "ok"
    assert judge(lenient, exited(5), None) == "exit"


def test_zero_is_a_failure_where_success_codes_leave_it_out() -> None:
    assert judge(unit(success_codes=frozenset({1})), exited(0), None) == "exit"


def test_allow_failure_allows_every_failure() -> None:
    assert is_allowed(unit(allow_failure=True), "oom", None)


def test_allow_failure_codes_allow_these_only() -> None:
    some = unit(allow_failure_codes=frozenset({77}))
    assert is_allowed(some, "exit", 77)
    assert not is_allowed(some, "exit", 1)
    assert not is_allowed(some, "timeout", None)


@pytest.mark.parametrize("verdict", ["ok", "skipped", "cancelled"])
def test_only_failures_are_allowed_failures(verdict: Any) -> None:
    assert not is_allowed(unit(allow_failure=True), verdict, 0)


@pytest.mark.parametrize(
    ("when", "verdict", "code", "expected"),
    [
        ((), "exit", 1, True),
        ((), "start_failed", None, True),
        ((), "ok", 0, False),
        ((), "cancelled", None, False),
        (("oom",), "oom", 137, True),
        (("oom",), "exit", 1, False),
        (("exit:75",), "exit", 75, True),
        (("exit:75",), "exit", 7, False),
        (("exit:70-79",), "exit", 70, True),
        (("exit:70-79",), "exit", 79, True),
        (("exit:70-79",), "exit", 80, False),
        (("exit:137",), "signal", 137, True),
        (("exit:0-255",), "timeout", None, False),
        (("oom", "exit:2"), "exit", 2, True),
    ],
)
def test_retry_when(when: tuple[str, ...], verdict: Any, code: int | None, expected: bool) -> None:
    assert wants_retry(unit(retry=Retry(1, when)), verdict, code, 0) is expected


def test_retry_ends_at_max() -> None:
    job = unit(retry=Retry(2))
    assert [wants_retry(job, "exit", 1, n) for n in range(4)] == [True, True, False, False]


def test_retry_delay_grows_by_backoff() -> None:
    job = unit(retry=Retry(3, delay_s=5, backoff=2))
    assert [retry_delay(job, n) for n in (1, 2, 3)] == [5, 10, 20]


def test_retry_delay_does_not_overflow() -> None:
    assert retry_delay(unit(retry=Retry(9999, delay_s=1, backoff=10)), 9999) < float("inf")


@pytest.mark.parametrize(
    ("condition", "verdict", "expected"),
    [
        ("no", "exit", False),
        ("on-failure", "exit", True),
        ("on-failure", "ok", False),
        ("always", "ok", True),
        ("unless-stopped", "ok", True),
        ("always", "oom", True),
    ],
)
def test_restart_policy(condition: Any, verdict: Any, expected: bool) -> None:
    assert wants_restart(unit(role="support", restart=Restart(condition)), verdict, 0) is expected


def test_restart_ends_at_max_attempts() -> None:
    service = unit(role="support", restart=Restart("on-failure", 2))
    assert [wants_restart(service, "exit", n) for n in range(3)] == [True, True, False]


def test_a_job_that_succeeded_is_not_restarted() -> None:
    assert not wants_restart(unit(restart=Restart("always")), "ok", 0)


def test_restart_delay_doubles_to_a_minute_and_starts_anew() -> None:
    policy = Restart("always")
    delays = [0.0]
    for _ in range(12):
        delays.append(restart_delay(policy, delays[-1], 1))
    assert delays[1:4] == [0.1, 0.2, 0.4]
    assert delays[-1] == 60
    assert restart_delay(policy, 60, 10) == 0.1


def test_restart_delay_of_the_spec_is_constant() -> None:
    assert restart_delay(Restart("always", delay_s=3), 3, 1) == 3
