from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from gocker.log import Console, RunLog
from gocker.report.lines import Narrator
from gocker.report.output import Sink
from gocker.report.summary import Summary
from gocker.report.table import align, rows_as, summary_as, summary_text, width
from gocker.state.containers import replay
from gocker.state.runlog import read

MIB = 1 << 20
ENVELOPE = {"schema", "seq", "time", "monotonic", "event", "run.id", "project"}


def job(
    record: Any, instance: str, verdict: str = "ok", *, failed: bool = False, **figures: Any
) -> list[dict[str, Any]]:
    return [
        record("container.started", instance=instance, attempt=1),
        record(
            "container.exited",
            **{"instance": instance, "verdict": verdict, "attempt": 1, "duration_s": 2.0} | figures,
        ),
        record("job.finished", instance=instance, verdict=verdict, attempts=1, failed=failed),
    ]


def summary(*jobs: list[dict[str, Any]]) -> Summary:
    return Summary.from_records(entry for entries in jobs for entry in entries)


def cells(text: str, instance: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.startswith(f"{instance} "))


def test_a_row_has_all_figures(record: Any) -> None:
    figures = {
        "process__exit__code": 7, "duration_s": 1.23, "cpu__user_s": 0.4, "cpu__system_s": 0.1,
        "cpu__throttled_s": 0.06, "memory__peak": 31 * MIB, "memory__limit": 64 * MIB,
        "pids__peak": 4, "pids__limit": 16,
    }  # fmt: skip
    text = summary_text(summary(job(record, "web", "exit", **figures)))
    assert " ".join(cells(text, "web")) == (
        "web exit 7 1.2 s 500 ms 60 ms 31 MiB / 64 MiB 4 / 16 1"
    )


def test_what_the_kernel_did_not_tell_is_a_dash(record: Any) -> None:
    assert cells(summary_text(summary(job(record, "web"))), "web")[5:] == ["-", "-", "-", "-", "1"]


def test_the_last_attempt_counts(record: Any) -> None:
    entries = [
        record("container.exited", instance="a", process__exit__code=1, next="retry", attempt=1),
        record("container.exited", instance="a", process__exit__code=0, next="done", attempt=2),
        record("job.finished", instance="a", verdict="ok", attempts=2),
    ]
    row = summary(entries).rows["a"]
    assert (row.exit_code, row.attempts, row.verdict) == (0, 2, "ok")


def test_a_service_without_a_last_word_has_its_last_containers_verdict(record: Any) -> None:
    entries = [record("container.exited", instance="db", verdict="signal", next="done")]
    assert summary(entries).rows["db"].verdict == "signal"


def test_an_instance_whose_run_was_killed_is_unfinished(record: Any) -> None:
    text = summary_text(summary([record("container.started", instance="a")]))
    assert cells(text, "a")[1] == "unfinished"
    assert text.endswith("1 job: 1 unfinished; the run has not finished\n")


def test_failures_come_last(record: Any) -> None:
    made = summary(
        job(record, "bad", "exit", failed=True),
        job(record, "soft", "exit"),
        job(record, "good"),
    )
    assert [row.instance for row in made.ordered()] == ["good", "soft", "bad"]


def test_of_many_successes_some_are_shown_and_every_failure(record: Any) -> None:
    jobs = [job(record, f"ok-{number}") for number in range(100)]
    text = summary_text(summary(*jobs, job(record, "bad", "exit", failed=True)), most_ok=3)
    assert "… and 97 more ok" in text
    assert cells(text, "bad")


def test_the_last_line_counts_and_says_how_it_ended(record: Any) -> None:
    end = record("run.finished", exit_code=1, reason="job_failed", duration_s=9.9)
    del end["error"]
    made = summary(job(record, "a"), job(record, "b", "oom"), [end])
    assert summary_text(made).splitlines()[-1] == (
        "2 jobs: 1 ok, 1 oom; 9.9 s, exit code 1 (job_failed)"
    )


@pytest.mark.parametrize(
    ("verdict", "figures", "hint"),
    [
        ("oom", {"memory__limit": 32 * MIB}, "killed at its memory limit of 32 MiB"),
        ("ok", {"memory__peak": 90, "memory__limit": 100}, "close to the limit"),
        ("ok", {"pids__peak": 15, "pids__limit": 16}, "pids peak 15 is close"),
        ("pids", {"pids__denied": 12, "pids__limit": 16}, "12 forks refused at pids_limit 16"),
        ("ok", {"memory__oom_kills": 1}, "1 process killed for memory"),
        ("timeout", {}, "stopped by its timeout after 2 s"),
        ("ok", {"cpu__throttled_s": 1.0}, "waited 1 s for its CPU quota in 2 s"),
        ("exit", {"next": "restart"}, "exited by itself and was restarted 1 time"),
    ],
)
def test_hints(record: Any, verdict: str, figures: dict[str, Any], hint: str) -> None:
    (found,) = summary(job(record, "a", verdict, **figures)).hints()
    assert found.startswith("a: ")
    assert hint in found


@pytest.mark.parametrize(
    "figures",
    [
        {"memory__peak": 89, "memory__limit": 100}, {"memory__peak": 89},
        {"pids__peak": 1, "pids__limit": 16}, {"cpu__throttled_s": 0.1},
    ],
    ids=str,
)  # fmt: skip
def test_no_hint_without_a_reason(record: Any, figures: dict[str, Any]) -> None:
    assert summary(job(record, "a", **figures)).hints() == []


def test_a_skipped_job_names_whose_fault_it_is(record: Any) -> None:
    entries = [
        record("job.skipped", instance="late", because="bad"),
        record("job.finished", instance="late", verdict="skipped", attempts=0),
    ]
    assert summary(entries).hints() == ["late: skipped because of bad"]


def test_the_table_is_rebuilt_from_the_log_alone(record: Any, tmp_path: Path) -> None:
    live = Summary()
    entries = job(record, "a") + job(record, "b\x1b[2J", "oom", memory__limit=MIB)
    with RunLog(str(tmp_path / "run.jsonl"), "r", "p", Console(Sink(-1), "none")) as log:
        for entry in entries:
            fields = {key: value for key, value in entry.items() if key not in ENVELOPE}
            live.add(log.record(entry["event"], fields))
    later = Summary.from_records(read(str(tmp_path / "run.jsonl")))
    assert later == live
    assert summary_text(later) == summary_text(live)


def test_a_damaged_log_still_gives_lines_and_a_table(record: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    error = {"message": "m", "hint": "h", "cause": {"message": "c"}}
    entries = [
        *job(record, "a", "oom", memory__limit=MIB, memory__peak=MIB),
        record("container.failed", instance="b", error=error),
        record("run.finished", error=error),
    ]
    with RunLog(str(path), "r", "p", Console(Sink(-1), "none")) as log:
        for entry in entries:
            fields = {key: value for key, value in entry.items() if key not in ENVELOPE}
            log.record(entry["event"], fields)
    good = path.read_bytes()
    chance = random.Random(7)  # noqa: S311  # a repeatable test, not a secret
    for _ in range(500):
        content = bytearray(good[: chance.choice([len(good), chance.randrange(1, len(good))])])
        content[chance.randrange(len(content))] = chance.choice([0, 34, 44, 48, 57, 110, 123, 255])
        path.write_bytes(content)
        records = list(read(str(path)))
        narrator = Narrator()
        assert all(narrator.line(entry).what.isprintable() for entry in records)
        assert replay(records, alive=False) is not None
        assert summary_text(Summary.from_records(records))


def test_colours_do_not_move_the_columns(record: Any) -> None:
    made = summary(job(record, "ok"), job(record, "exit", "exit", failed=True))
    painted = summary_text(made, colour=True)
    assert "\x1b[32mok\x1b[0m" in painted
    assert "\x1b[1;31mexit\x1b[0m" in painted
    for code in ("\x1b[32m", "\x1b[1;31m", "\x1b[0m"):
        painted = painted.replace(code, "")
    assert painted == summary_text(made)


def test_names_in_the_table_are_harmless(record: Any) -> None:
    text = summary_text(summary(job(record, "a\x1b]0;t\x07\nb")))
    assert "\x1b" not in text
    assert "a b" in text


def test_json_has_the_run_and_its_rows(record: Any) -> None:
    made = summary(job(record, "a"), job(record, "b"))
    document = json.loads(summary_as(made, "json"))
    lines = [json.loads(line) for line in summary_as(made, "jsonl").splitlines()]
    assert document["rows"] == lines
    assert [row["instance"] for row in lines] == ["a", "b"]


def test_an_empty_run_has_a_table() -> None:
    assert summary_text(Summary()).splitlines()[-1] == "no jobs; the run has not finished"


@pytest.mark.parametrize(("text", "columns"), [("ab", 2), ("日本", 4), ("e\u0301", 1), ("é", 1)])
def test_width(text: str, columns: int) -> None:
    assert width(text) == columns


def test_wide_names_stay_aligned() -> None:
    assert align([("日本", "1"), ("a", "22")], left=1) == ["日本   1", "a     22"]


def test_rows_in_every_format() -> None:
    rows = [{"name": "a", "pid": 1}, {"name": "bb", "pid": None}]
    assert json.loads(rows_as(rows, "json")) == rows
    assert [json.loads(line) for line in rows_as(rows, "jsonl").splitlines()] == rows
    assert rows_as(rows, "table", {"name": "NAME", "pid": "PID"}) == "NAME  PID\na     1\nbb    -\n"


def test_no_rows_in_every_format() -> None:
    assert rows_as([], "json") == "[]\n"
    assert rows_as([], "jsonl") == ""
    assert rows_as([], "table", {"name": "NAME"}) == "NAME\n"
