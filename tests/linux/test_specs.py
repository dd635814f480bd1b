"""The example specs do what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.support.command import ROOT, Gocker, Result

pytestmark = pytest.mark.root
SPECS = sorted(path for path in (ROOT / "specs").glob("*.yaml"))


def up(gocker: Gocker, name: str, *options: str, changes: dict[str, str] | None = None) -> Result:
    """Run an example in a directory of the test's own, where its artifacts go."""
    path = gocker.root / name
    text = (ROOT / "specs" / name).read_text()
    for old, new in (changes or {}).items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    process = gocker.popen("up", str(path), "--log-format", "none", "--no-summary", *options)
    out, err = process.communicate(timeout=120)
    gocker.note_runs()
    return Result(process.returncode, out, err, gocker.last_run())


def verdicts(result: Result) -> dict[str, str]:
    return {record["instance"]: record["verdict"] for record in result.events("job.finished")}


def artifacts(gocker: Gocker, result: Result) -> set[str]:
    top = gocker.root / ".gocker/runs" / result.run_id
    return {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_an_example_is_valid_and_names_the_schema(gocker: Gocker, path: Path) -> None:
    assert path.read_text().startswith("# yaml-language-server: $schema=./schema.json\n")
    result = gocker.command("validate", str(path), "--strict")
    assert result.code == 0, result


def test_the_matrix(gocker: Gocker) -> None:
    result = up(gocker, "matrix.yaml", "--report", "junit=report.xml")
    assert result.code == 0, result
    assert verdicts(result) == {
        "test-sh-small": "ok", "test-sh-large": "ok", "test-dash-small": "ok",
        "test-sh-huge": "exit", "summary": "ok",
    }  # fmt: skip
    root = ElementTree.parse(gocker.root / "report.xml").getroot()  # noqa: S314  # our own
    assert [suite.get("name") for suite in root][1:] == [
        "test-sh-small: size small", "test-sh-large: size large", "test-dash-small: size small",
    ]  # fmt: skip


def test_the_pipeline(gocker: Gocker) -> None:
    result = up(gocker, "pipeline.yaml")
    assert result.code == 0, result
    assert artifacts(gocker, result) == {
        "build/1/build.log", "test-1/1/junit.xml", "test-2/1/junit.xml", "package/1/numbers.gz",
    }  # fmt: skip


def test_the_grader(gocker: Gocker) -> None:
    result = up(gocker, "grader.yaml")
    assert result.code == 0, result
    found: dict[str, Any] = verdicts(result)
    assert found == {
        "grade-right": "ok", "grade-wrong": "exit", "grade-endless": "timeout",
        "grade-greedy": "oom", "grade-crowd": "pids", "done": "ok",
    }  # fmt: skip


def test_the_fanout_on_a_small_scale(gocker: Gocker) -> None:
    changes = {"scale: 1000": "scale: 30", "333833500": "9455", "1 to 1000": "1 to 30"}
    result = up(gocker, "fanout.yaml", "--quiet", changes=changes)
    assert result.code == 0, result
    assert len(verdicts(result)) == 31
    assert "the squares of 1 to 30 are 9455 together" in result.out


def test_the_database(gocker: Gocker) -> None:
    result = up(gocker, "database.yaml")
    assert result.code == 0, result
    assert result.log("test") == "answer 42\n"
    assert verdicts(result) == {"test": "ok", "db": "ok"}
