"""The JUnit report: test cases of jobs, and the reports that jobs wrote."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import pytest

from gocker.report.junit import Report


def report(records: list[dict[str, Any]], jobs: set[str] | None = None, **how: Any) -> ET.Element:
    made = Report(jobs or {"a", "b"}, lambda name, n: f"tail of {name} {n}", **how)
    for record in records:
        made.add(record)
    return parsed(made)


def parsed(made: Report) -> ET.Element:
    return ET.fromstring(made.xml())  # noqa: S314  # our own


def ended(make: Any, instance: str, verdict: str, attempt: int = 1, **more: Any) -> dict[str, Any]:
    more = {"process__exit__code": 3, "duration_s": 2.0, "next": "done", **more}
    record: dict[str, Any] = make(
        "container.exited", instance=instance, verdict=verdict, attempt=attempt, **more
    )
    return record


def finished(make: Any, instance: str, verdict: str, **more: Any) -> dict[str, Any]:
    more = {"failed": verdict not in ("ok", "skipped", "cancelled"), "allowed": False, **more}
    record: dict[str, Any] = make("job.finished", instance=instance, verdict=verdict, **more)
    return record


def cases(root: ET.Element) -> list[tuple[str, str, str | None]]:
    found = []
    for case in root.iter("testcase"):
        result = next(iter(case), None)
        kind = "ok" if result is None else result.tag
        found.append((case.get("name", ""), kind, None if result is None else result.get("type")))
    return found


def test_a_case_per_job_with_the_verdict_and_the_end_of_its_output(record: Any) -> None:
    root = report([
        ended(record, "a", "ok"), finished(record, "a", "ok"),
        ended(record, "b", "exit"), finished(record, "b", "exit"),
    ])  # fmt: skip
    assert cases(root) == [("a", "ok", None), ("b", "failure", "exit")]
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.get("message") == "exit: exit code 3 after 2 s"
    assert failure.text == "tail of b 1"
    assert (root.get("tests"), root.get("failures")) == ("2", "1")


def test_a_retried_attempt_is_a_case_and_no_failure(record: Any) -> None:
    root = report([
        ended(record, "a", "oom", next="retry"), ended(record, "a", "ok", attempt=2),
        finished(record, "a", "ok"),
    ])  # fmt: skip
    assert cases(root) == [("a", "skipped", "oom"), ("a (attempt 2)", "ok", None)]
    assert root.get("failures") == "0"


def test_an_allowed_failure_is_no_failure(record: Any) -> None:
    root = report([ended(record, "a", "exit"), finished(record, "a", "exit", failed=False,
                   allowed=True)])  # fmt: skip
    assert cases(root) == [("a", "skipped", "exit")]
    skipped = root.find(".//skipped")
    assert skipped is not None
    assert (skipped.get("message") or "").startswith("allowed exit")


def test_who_never_ran_says_why(record: Any) -> None:
    root = report([record("job.skipped", instance="b", because="a"),
                   finished(record, "b", "skipped")])  # fmt: skip
    skipped = root.find(".//skipped")
    assert skipped is not None
    assert skipped.get("message") == "skipped because of a"


def test_who_could_not_start_is_an_error(record: Any) -> None:
    failed = record("container.failed", instance="a", verdict="start_failed", next="done",
                    attempt=1, error={"message": "no image"})  # fmt: skip
    root = report([failed, finished(record, "a", "start_failed")])
    assert cases(root) == [("a", "error", "start_failed")]
    assert root.get("errors") == "1"


def test_support_is_in_it_only_if_it_failed(record: Any) -> None:
    fine = [ended(record, "db", "ok"), finished(record, "db", "ok")]
    broken = [ended(record, "web", "exit"), finished(record, "web", "exit")]
    assert cases(report(fine + broken)) == [("web", "failure", "exit")]


def test_what_xml_cannot_hold_is_replaced(record: Any) -> None:
    made = Report({"a"}, lambda *_: "\x1b[31mred\x00 \ud800 <&>")
    made.add(ended(record, "a", "exit"))
    made.add(finished(record, "a", "exit"))
    failure = parsed(made).find(".//failure")
    assert failure is not None
    assert failure.text == "�[31mred� � <&>"


JOBS = b"""<testsuites><testsuite name="unit" hostname="h"><properties/>
<testcase classname="c" name="one" time="0.5" file="x"/>
<testcase name="two"><failure message="no"><b>why s3cret</b></failure></testcase>
</testsuite></testsuites>"""


def test_a_jobs_own_report_is_a_suite_of_its_own(record: Any) -> None:
    made = Report({"a"}, lambda *_: "", lambda text: text.replace("s3cret", "***"))
    made.merge("a-1", JOBS)
    root = parsed(made)
    suite = root.findall("testsuite")[1]
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("a-1: unit", "2", "1")
    assert cases(root) == [("one", "ok", None), ("two", "failure", None)]
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.text == "why ***"


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (b"", "no XML"),
        (b"\xff\xfe\x00", "no XML"),
        (b"<html/>", "no testsuite"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]><testsuite name='&b;'/>", "document type"),
        (b"<a>" * 60, "nested"),
        (b" " * (16 << 20) + b"<testsuite/>", "larger"),
    ],
)
def test_what_is_no_report_is_refused(document: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Report({"a"}, lambda *_: "").merge("a", document)


def test_a_namespace_does_not_matter() -> None:
    made = Report({"a"}, lambda *_: "")
    made.merge("a", b"<testsuite xmlns='urn:x'><testcase name='one'/></testsuite>")
    assert cases(parsed(made)) == [("one", "ok", None)]
