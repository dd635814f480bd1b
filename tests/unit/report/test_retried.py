from __future__ import annotations

from typing import Any

from gocker import events
from gocker.report.summary import Summary
from gocker.report.table import summary_text


def record(event: str, **given: Any) -> dict[str, Any]:
    fields: dict[str, Any] = dict.fromkeys(events.ENVELOPE | events.EVENTS[event][1])
    return fields | {"event": event, "instance": "a", "service": "a"} | given


def attempt(number: int, verdict: str, then: str = "retry") -> list[dict[str, Any]]:
    return [
        record("container.started", attempt=number),
        record("container.exited", attempt=number, verdict=verdict, next=then, duration_s=2.0),
    ]


NOT_STARTED = record(
    "container.failed", attempt=1, verdict="start_failed", next="retry", error={"message": "m"}
)
LAST = attempt(3, "ok", "done")
END = record("job.finished", verdict="ok", attempts=3, failed=False, allowed=False)


def test_the_table_names_what_made_another_attempt_necessary() -> None:
    made = Summary.from_records([*attempt(1, "oom"), *attempt(2, "timeout"), *LAST, END])
    assert "3 (oom, timeout)" in summary_text(made)


def test_a_verdict_seen_twice_is_named_once() -> None:
    made = Summary.from_records([*attempt(1, "exit"), *attempt(2, "exit"), *LAST, END])
    assert "3 (exit)" in summary_text(made)


def test_a_hint_tells_how_long_the_earlier_attempts_took() -> None:
    made = Summary.from_records([NOT_STARTED, *attempt(2, "timeout"), *LAST, END])
    assert made.hints() == ["a: earlier attempts: start_failed, timeout after 2 s"]


def test_a_restart_is_no_earlier_attempt() -> None:
    made = Summary.from_records([*attempt(1, "exit", "restart"), *attempt(2, "ok", "done")])
    assert made.rows["a"].retried == []
