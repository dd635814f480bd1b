"""The demonstration spec, as a new user runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.machine import PATIENCE_S

pytestmark = pytest.mark.root
ROOT = Path(__file__).parents[2]
SPEC = ROOT / "specs" / "demo.yaml"
MIB = 1 << 20


def gocker(roots: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "GOCKER_DATA_ROOT": f"{roots}/data",
        "GOCKER_RUN_ROOT": f"{roots}/live",
    }
    return subprocess.run(
        [sys.executable, "-m", "gocker", *words],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=4 * PATIENCE_S,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("roots")
    yield directory
    gocker(directory, "down", "-p", "demo", "--volumes")


@pytest.fixture(scope="module")
def run(roots: Path) -> subprocess.CompletedProcess[str]:
    return gocker(roots, "up", str(SPEC), "--format", "json")


@pytest.fixture(scope="module")
def rows(run: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    summary = json.loads(run.stdout.splitlines()[-1])
    return {row["instance"]: row for row in summary["rows"]}


def test_it_ends_well(run: subprocess.CompletedProcess[str]) -> None:
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_verdicts(rows: dict[str, dict[str, Any]]) -> None:
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "prepare": "ok", "odd": "ok", "even": "ok", "greedy": "oom", "throttled": "ok",
        "crowd": "pids", "flaky": "ok", "report": "ok",
    }  # fmt: skip


def test_only_what_is_meant_to_fail_is_allowed_to(rows: dict[str, dict[str, Any]]) -> None:
    assert {name for name, row in rows.items() if row["allowed"]} == {"greedy", "crowd"}


def test_the_oom_kill_has_its_figures(rows: dict[str, dict[str, Any]]) -> None:
    row = rows["greedy"]
    assert row["memory_limit"] == 32 * MIB
    assert 31 * MIB < row["memory_peak"] <= 32 * MIB
    assert row["oom_kills"] >= 1


def test_the_fork_limit_has_its_figures(rows: dict[str, dict[str, Any]]) -> None:
    row = rows["crowd"]
    assert row["pids_limit"] == 12
    assert row["pids_denied"] >= 1


def test_half_a_cpu_is_not_exceeded(rows: dict[str, dict[str, Any]]) -> None:
    row = rows["throttled"]
    share = row["cpu_s"] / row["duration_s"]
    assert share < 0.6
    # On a machine with no CPU to spare, others keep it below its quota.
    assert row["throttled_s"] > 0 or share < 0.45


def test_the_timeout_led_to_a_second_attempt(rows: dict[str, dict[str, Any]]) -> None:
    (first,) = rows["flaky"]["retried"]
    assert first["verdict"] == "timeout"
    assert rows["flaky"]["attempts"] == 2


def test_the_report_has_the_workers_results(run: subprocess.CompletedProcess[str]) -> None:
    lines = {line.partition("| ")[2] for line in run.stdout.splitlines()}
    assert "odd 100000000 + even 100010000 = 200010000" in lines
    assert "what prepare wrote to /etc was its own" in lines


def test_nothing_is_written_to_the_host(run: subprocess.CompletedProcess[str]) -> None:
    assert not Path("/etc/gocker-was-here").exists()


def test_the_table_names_every_case(run: object, roots: Path) -> None:
    again = gocker(roots, "demo", "--color", "never")
    assert again.returncode == 0, again.stderr
    table = again.stderr[again.stderr.index("\nSERVICE ") :]
    for case in ("oom (allowed)", "32 MiB / 32 MiB", "pids (allowed)", "12 / 12", "(timeout)"):
        assert case in table


def test_the_readmes_first_spec_runs(roots: Path, tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.+?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    spec = tmp_path / "first.yaml"
    spec.write_text(text)
    run = gocker(roots, "up", str(spec))
    assert run.returncode == 0, run.stderr
    assert re.search(r"^test +\| \w", run.stdout, re.MULTILINE)
    assert gocker(roots, "down", str(spec), "--volumes").returncode == 0
