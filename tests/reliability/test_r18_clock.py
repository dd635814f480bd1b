"""R18: a clock that jumps changes no decision and no order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import Gocker, Spec

pytestmark = pytest.mark.root
# Python imports it before gocker. The front's clock then jumps at every reading.
JUMPING = """
import itertools, time
real, jumps = time.time, itertools.cycle([0, 3600, -3600, 315e6, -315e6])
time.time = lambda: real() + next(jumps)
"""
BACK = "import time; real = time.time; time.time = lambda: real() - 315e6"


@pytest.fixture
def clock(gocker: Gocker) -> Path:
    """Return the file that is run in each front."""
    directory = gocker.root / "site"
    directory.mkdir()
    gocker.environ["PYTHONPATH"] += f":{directory}"
    return directory / "sitecustomize.py"


def test_timeouts_retries_and_health_go_by_the_other_clock(gocker: Gocker, clock: Path) -> None:
    clock.write_text(JUMPING)
    spec: Spec = {
        "services": {
            "late": {"command": ["sleep", "1000"], "stop_grace_period": "100ms",
                     "x-gocker": {"timeout": "300ms"}},
            "again": {"command": ["false"], "x-gocker": {"retry": {"max": 2, "delay": "50ms"}}},
            "healthy": {"command": ["sleep", "1000"], "x-gocker": {"role": "support"},
                        "stop_grace_period": "100ms",
                        "healthcheck": {"test": ["CMD", "true"], "interval": "50ms"}},
            "after": {"command": ["true"],
                      "depends_on": {"healthy": {"condition": "service_healthy"}}},
        }
    }  # fmt: skip
    result = gocker.up(spec, "--parallel", "4")
    assert result.verdict("late") == "timeout"
    assert (result.verdict("again"), len(result.events("container.exited", "again"))) == ("exit", 3)
    assert result.verdict("after") == "ok"
    assert result.event("run.finished")["duration_s"] < 60
    assert [record["seq"] for record in result.records] == list(range(1, len(result.records) + 1))
    times = [record["monotonic"] for record in result.records]
    assert times == sorted(times)
    assert gocker.command("ps", "--all", "--all-projects").code == 0
    assert gocker.command("logs", str(gocker.root / "spec.yaml")).code == 0
    assert gocker.down().code == 0


def test_the_last_run_is_the_last_one_after_the_clock_was_set_back(
    gocker: Gocker, clock: Path
) -> None:
    assert gocker.sh("true").code == 0
    clock.write_text(BACK)
    ids = [gocker.sh(f"echo {number}").run_id for number in range(3)]
    assert [run.name for run in gocker.runs()][1:] == ids
    assert gocker.command("logs", str(gocker.root / "spec.yaml")).out.split()[-1] == "2"
