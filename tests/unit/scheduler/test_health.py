from __future__ import annotations

from typing import Any

from gocker.plan.model import Healthcheck
from gocker.scheduler.health import Health


def health(**fields: Any) -> Health:
    return Health(Healthcheck(("true",), **fields), now=100.0)


def test_the_first_probe_comes_after_an_interval() -> None:
    assert health(interval_s=7).next_probe(100.0) == 107.0


def test_start_interval_counts_in_the_start_period() -> None:
    state = health(interval_s=7, start_period_s=10, start_interval_s=2)
    assert state.next_probe(100.0) == 102.0
    assert state.next_probe(110.0) == 117.0


def test_start_interval_ends_with_the_first_success() -> None:
    state = health(interval_s=7, start_period_s=10, start_interval_s=2)
    state.result(0)
    assert state.next_probe(103.0) == 110.0


def test_one_success_is_healthy() -> None:
    state = health()
    assert state.result(0)
    assert state.status == "healthy"


def test_retries_failures_in_a_row_are_unhealthy() -> None:
    state = health(retries=3)
    assert [state.result(code) for code in (1, None, 2)] == [False, False, True]
    assert (state.status, state.failing_streak) == ("unhealthy", 3)


def test_a_success_ends_the_streak() -> None:
    state = health(retries=2)
    for code in (1, 0, 1):
        state.result(code)
    assert (state.status, state.failing_streak) == ("healthy", 1)


def test_it_recovers() -> None:
    state = health(retries=1)
    state.result(1)
    assert state.result(0)
    assert state.status == "healthy"


def test_failures_in_the_start_period_do_not_count() -> None:
    state = health(retries=1, start_period_s=10)
    state.probe(109.0)
    assert not state.result(1)
    assert state.failing_streak == 0
    state.probe(110.0)
    assert state.result(1)
    assert state.status == "unhealthy"


def test_failures_count_from_the_first_success_on() -> None:
    state = health(retries=1, start_period_s=10)
    state.probe(101.0)
    state.result(0)
    state.probe(102.0)
    assert state.result(1)
