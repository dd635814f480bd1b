"""Reports of runs that are over, from what is stored of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.command import Gocker

pytestmark = pytest.mark.root


def sh(script: str, **more: Any) -> dict[str, Any]:
    return {"command": ["sh", "-c", script], "x-gocker": more}


def data_of(page: str) -> dict[str, Any]:
    text = page.partition('id="data">')[2].partition("</script>")[0]
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_stored_run_gives_the_report_that_it_gave_at_its_end(gocker: Gocker) -> None:
    # Long enough for its plan to be kept.
    services = {
        "a": sh("echo out; sleep 1.5; exit 3"),
        "b": {**sh("true"), "depends_on": {"a": {"condition": "service_completed_successfully"}}},
    }
    result = gocker.up({"services": services}, "--report", "html=now.html")
    assert result.code == 1
    now = (gocker.root / "now.html").read_text()
    done = gocker.command("report", result.run_id, "html=later.html")
    assert done.code == 0, done
    assert (gocker.root / "later.html").read_text() == now
    a, b = data_of(now)["jobs"]
    assert (a["attempts"][0]["tail"], a["attempts"][0]["code"]) == ("out\n", 3)
    assert (b["verdict"], b["depends"]) == ("skipped", ["a"])


def test_output_that_cannot_be_masked_any_more_is_left_out(gocker: Gocker) -> None:
    service = {**sh("echo $TOKEN; sleep 1.5; exit 1"), "environment": {"TOKEN": "very-secret"}}
    result = gocker.up({"services": {"a": service}, "x-gocker": {"mask": ["TOKEN"]}},
                       "--report", "html=now.html")  # fmt: skip
    assert "***" in (gocker.root / "now.html").read_text()
    done = gocker.command("report", result.run_id, "html=-")
    assert "very-secret" not in (gocker.root / "now.html").read_text() + done.out
    assert "output is left out" in done.err


def test_runs_and_their_comparison(gocker: Gocker) -> None:
    first = gocker.up({"services": {"a": sh("true")}})
    second = gocker.up({"services": {"a": sh("exit 1")}})
    done = gocker.command("runs", "-p", "test", "--format", "json")
    found = {row["Run"]: row for row in json.loads(done.out)}
    assert [found[run.run_id]["ExitCode"] for run in (first, second)] == [0, 1]
    assert found[second.run_id]["Totals"] == {"exit": 1}
    done = gocker.command("compare", first.run_id, "--format", "json")
    assert {"Job": "a", "What": "verdict", "Before": "ok", "After": "exit", "Change": ""} in (
        json.loads(done.out)
    )
    done = gocker.command("report", "-p", "test")
    assert "1 job: 1 exit" in done.out
    assert gocker.command("report", "zzz").code == 3
