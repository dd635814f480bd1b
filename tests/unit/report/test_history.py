"""A run as one document, and the page, the metrics and the comparison made from it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from prometheus_client.openmetrics import parser

from gocker.plan.model import Dependency, Plan, Unit
from gocker.report import openmetrics
from gocker.report.compare import changes
from gocker.report.history import History, critical_path
from gocker.report.html import page
from gocker.report.summary import Summary

HOSTILE = '</script><script>alert(1)</script>{{data}}"&\x1b]8;;http://x\x07'


def job(name: str, *spans: tuple[float, float], depends: list[str] | None = None) -> dict[str, Any]:
    attempts = [{"start": start, "end": end} for start, end in spans]
    return {"name": name, "attempts": attempts, "depends": depends or []}


@pytest.mark.parametrize(
    ("jobs", "path"),
    [
        ([], []),
        ([job("a")], []),
        ([job("a", (0, 1)), job("b", (0, 2))], ["b"]),
        ([job("a", (0, 1)), job("b", (0, 2)), job("c", (2, 3), depends=["a", "b"])], ["b", "c"]),
        # A service outlives what waited for it: it counts by its start.
        ([job("db", (0, 9)), job("test", (5, 10), depends=["db"])], ["db", "test"]),
        ([job("a", (0, 1), (2, 3)), job("b", (3, 4), depends=["a"])], ["a", "b"]),
        ([job("a", (0, 1), depends=["b"]), job("b", (1, 2), depends=["a"])], ["a", "b"]),
    ],
)
def test_the_critical_path(jobs: list[dict[str, Any]], path: list[str]) -> None:
    assert critical_path(jobs) == path


@pytest.fixture
def records(record: Any) -> list[dict[str, Any]]:
    return [
        record("run.started", monotonic=10.0, project="demo"),
        record("container.started", instance="a", attempt=1, monotonic=11.0),
        record("container.exited", instance="a", attempt=1, monotonic=12.0, verdict="timeout",
               next="retry", duration_s=1.0),
        record("container.started", instance="a", attempt=2, monotonic=13.0),
        record("container.exited", instance="a", attempt=2, monotonic=15.0, verdict="exit",
               next="done", duration_s=2.0, memory__peak=8 << 20, memory__limit=16 << 20,
               cpu__user_s=1.0, cpu__system_s=0.5, process__exit__code=3),
        record("job.finished", instance="a", verdict="exit", attempts=2, failed=True),
        record("job.skipped", instance="b", because="a"),
        record("job.finished", instance="b", verdict="skipped", attempts=0),
        record("run.finished", monotonic=15.5, exit_code=1, reason="job_failed", duration_s=5.5),
    ]  # fmt: skip


def document(records: list[dict[str, Any]], plan: Plan | None = None) -> dict[str, Any]:
    history = History(plan)
    for item in records:
        history.add(item)
    return history.document(lambda name, n: f"tail {name} {n} {HOSTILE}")


def test_a_document_has_every_attempt(records: list[dict[str, Any]]) -> None:
    units = {"a": Unit("a", "a", "i"), "b": Unit("b", "b", "i", depends=(Dependency("a"),))}
    found = document(records, Plan("demo", units))
    a, b = found["jobs"]
    first, second = a["attempts"]
    assert (first["start"], first["end"], first["verdict"]) == (1.0, 2.0, "timeout")
    assert (second["start"], second["end"], second["cpu"], second["code"]) == (3.0, 5.0, 1.5, 3)
    assert "exit code 3" in second["why"]
    assert (b["verdict"], b["because"], b["depends"]) == ("skipped", "a", ["a"])
    assert found["critical"] == ["a"]


def test_what_containers_wrote_is_only_text_in_the_page(records: list[dict[str, Any]]) -> None:
    records[0]["project"] = HOSTILE
    made = page(document(records)).decode()
    assert len(re.findall("<script", made)) == 2
    assert len(re.findall("</script", made)) == 2
    assert "\x1b" not in made
    data = made.partition('id="data">')[2].partition("</script>")[0]
    assert json.loads(data)["jobs"][0]["attempts"][1]["tail"] == f"tail a 2 {HOSTILE}"
    assert "tail a 2 &lt;/script&gt;" in made  # and the failure is there without any script


def test_the_page_asks_for_nothing_from_outside(records: list[dict[str, Any]]) -> None:
    made = page(document(records)).decode()
    assert re.findall(r"(?:src|href)=\"([^\"]*)", made) == ["data:,"]
    assert "url(" not in made
    assert "default-src 'none'" in made


def test_the_metrics_are_openmetrics(records: list[dict[str, Any]]) -> None:
    records[0]["project"] = 'a "b" \\ c'
    text = openmetrics.text(Summary.from_records(records))
    found = {item.name: item for item in parser.text_string_to_metric_families(text)}
    (sample,) = found["gocker_job_memory_peak_bytes"].samples
    assert sample.value == 8 << 20
    assert sample.labels == {"project": 'a "b" \\ c', "service": "a", "instance": "a"}
    failed = {item.labels["instance"]: item.value for item in found["gocker_job_failed"].samples}
    assert failed == {"a": 1.0, "b": 0.0}
    totals = {item.labels["verdict"]: item.value for item in found["gocker_jobs"].samples}
    assert totals == {"exit": 1.0, "skipped": 1.0}


def test_a_comparison_tells_what_grew_beyond_the_threshold(records: list[dict[str, Any]]) -> None:
    before, after = Summary.from_records(records), Summary.from_records(records)
    assert changes(before, after, 0.1) == []
    row = after.rows["a"]
    row.duration_s, row.memory_peak, row.verdict = 4.0, 9 << 20, "ok"
    del after.rows["b"]
    found = [
        (it.instance, it.what, it.before, it.after, it.text) for it in changes(before, after, 0.1)
    ]
    assert found == [
        ("b", "job", "there", "gone", ""),
        ("a", "verdict", "exit", "ok", ""),
        ("a", "time", "2 s", "4 s", "+100 %"),
        ("a", "memory", "8 MiB", "9 MiB", "+12 %"),
    ]
    assert [it.what for it in changes(before, after, 0.5)] == ["job", "verdict", "time"]
