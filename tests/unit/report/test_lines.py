from __future__ import annotations

from typing import Any

import pytest

from gocker import events
from gocker.report.lines import Narrator, error_text

MIB = 1 << 20


@pytest.mark.parametrize("event", events.EVENTS)
def test_every_event_has_a_line(event: str, record: Any) -> None:
    line = Narrator().line(record(event))
    assert line.who == "text"
    assert line.what


def test_a_warning_is_shown_with_its_hint(record: Any) -> None:
    line = Narrator().line(record("job.warned", message="odd", hint="look"))
    assert (line.level, line.detail) == ("warning", "odd (look)")


def last_word(record: Any, verdict: str, **figures: Any) -> tuple[str, str, str]:
    narrator = Narrator()
    narrator.line(record("container.exited", verdict=verdict, duration_s=3.0, **figures))
    line = narrator.line(record("job.finished", verdict=verdict, attempts=1, failed=True))
    return line.level, line.what, line.detail


@pytest.mark.parametrize(
    ("verdict", "figures", "detail"),
    [
        (
            "oom",
            {"memory__limit": 32 * MIB, "memory__peak": 31 * MIB},
            "oom: killed at 32 MiB (peak 31 MiB), 1 attempt",
        ),
        (
            "pids",
            {"pids__denied": 1, "pids__limit": 16},
            "pids: 1 fork refused at 16 tasks, 1 attempt",
        ),
        ("timeout", {}, "timeout: stopped after 3 s, 1 attempt"),
        (
            "signal",
            {"process__exit__signal": "SIGSEGV"},
            "signal: killed by SIGSEGV after 3 s, 1 attempt",
        ),
        ("exit", {"process__exit__code": 7}, "exit: exit code 7 after 3 s, 1 attempt"),
    ],
)
def test_the_last_word_on_a_failure_names_its_figures(
    record: Any, verdict: str, figures: dict[str, Any], detail: str
) -> None:
    assert last_word(record, verdict, **figures) == ("error", "FAILED", detail)


def test_a_success_names_time_and_memory(record: Any) -> None:
    narrator = Narrator()
    narrator.line(record("container.exited", duration_s=1.2, memory__peak=31 * MIB))
    line = narrator.line(record("job.finished", verdict="ok", attempts=2))
    assert line == ("info", "text", "ok", "1.2 s, peak 31 MiB, attempt 2")


def test_an_allowed_failure_is_a_warning(record: Any) -> None:
    line = Narrator().line(record("job.finished", verdict="exit", allowed=True))
    assert (line.level, line.what) == ("warning", "failed")
    assert line.detail.endswith("allowed")


def test_a_container_that_could_not_start_tells_why(record: Any) -> None:
    narrator = Narrator()
    error = {
        "message": "cannot start",
        "hint": "chmod +x",
        "cause": {"message": "execve: Permission denied"},
    }
    narrator.line(record("container.failed", verdict="start_failed", error=error))
    line = narrator.line(record("job.finished", verdict="start_failed", failed=True))
    assert "cannot start: execve: Permission denied (hint: chmod +x)" in line.detail


def test_one_instances_figures_are_not_anothers(record: Any) -> None:
    narrator = Narrator()
    narrator.line(record("container.exited", instance="a", process__exit__code=7))
    line = narrator.line(record("job.finished", instance="b", verdict="exit"))
    assert "7" not in line.detail


@pytest.mark.parametrize(("following", "level"), [("done", "debug"), ("retry", "warning")])
def test_only_attempts_that_are_followed_by_another_have_a_line(
    record: Any, following: str, level: str
) -> None:
    assert Narrator().line(record("container.exited", next=following)).level == level


def test_lines_carry_no_control_characters(record: Any) -> None:
    evil = "x\x1b]0;t\x07\ny"
    line = Narrator().line(record("key.ignored", project=evil, reason=evil, path=evil))
    assert all(part.isprintable() for part in line)


def test_an_error_without_cause_or_hint() -> None:
    assert error_text({"message": "no disk"}) == "no disk"
