"""R26: the state of every released schema is read as it was; tests/fixtures/state has them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from gocker.state.record import SCHEMA_VERSION
from tests.support.command import Gocker, Spec

FIXTURES = Path(__file__).parents[1] / "fixtures/state"
SCHEMAS = sorted(FIXTURES.iterdir())
SPEC: Spec = {
    "services": {"job": {"command": ["cat", "/vol/file"], "volumes": ["vol:/vol"]}},
    "volumes": {"vol": {}},
}


@pytest.fixture
def state(gocker: Gocker, request: pytest.FixtureRequest) -> str:
    """Put a fixture into the data root; return its run."""
    shutil.copytree(request.param, gocker.data)
    for folder, _, files in os.walk(gocker.data):
        os.chmod(folder, 0o700)
        for name in files:
            os.chmod(Path(folder, name), 0o600)
    (run,) = gocker.runs()
    return run.name


every_schema = pytest.mark.parametrize(
    "state", SCHEMAS, indirect=True, ids=lambda path: str(path.name)
)


def test_every_earlier_schema_has_a_fixture() -> None:
    assert [path.name for path in SCHEMAS] == [f"schema-{n}" for n in range(1, SCHEMA_VERSION)]


@pytest.mark.root
@every_schema
def test_results_and_output_are_there(gocker: Gocker, state: str) -> None:
    shown = gocker.command("ps", "--all", "--all-projects", "--format", "json")
    assert {row["Service"]: row["ExitCode"] for row in json.loads(shown.out)} == {
        "job": 0, "failing": 7,
    }  # fmt: skip
    logs = gocker.command("logs", "-f", str(gocker.write(SPEC)))
    assert "first schema" in logs.out
    assert (gocker.data / "runs" / state / "run.json").read_bytes() == (
        FIXTURES / "schema-1/runs" / state / "run.json"
    ).read_bytes()


@pytest.mark.root
@every_schema
def test_volumes_are_used_and_removed(gocker: Gocker, state: str) -> None:
    result = gocker.up(SPEC)
    assert result.log() == "precious\n", result
    down = gocker.down("-v")
    assert down.code == 0
    assert f"removed run {state}" in down.err
    assert gocker.runs() == []
    assert not (gocker.data / "volumes/test_vol").exists()


@pytest.mark.root
@every_schema
def test_a_run_that_was_under_way_is_lost(gocker: Gocker, state: str) -> None:
    log = gocker.data / "runs" / state / "run.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(line for line in lines if b'"container.exited"' not in line))
    shown = gocker.command("ps", "--all", "--all-projects", "--format", "json")
    assert {row["State"] for row in json.loads(shown.out)} == {"lost"}
    assert gocker.command("gc").code == 0
    assert gocker.down().code == 0
