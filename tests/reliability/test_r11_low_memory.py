"""R11: a memory limit around gocker itself (a CI job's): its jobs die of it, and not gocker."""

from __future__ import annotations

from pathlib import Path

import pytest

from gocker.cgroup import mounts
from tests.support.command import Gocker

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(mounts.read().mode == "v2", reason="the tests' own cgroups are of v1"),
]
LIMIT = 64 << 20


@pytest.fixture
def low(gocker: Gocker) -> Path:
    """Limit the memory of gocker and all that it starts; return the cgroup's directory."""
    directory = Path(gocker.nest.directories["memory"])
    (directory / "memory.limit_in_bytes").write_text(str(LIMIT))
    return directory


def kills(directory: Path) -> int:
    lines = (directory / "memory.oom_control").read_text().splitlines()
    return int(dict(line.split() for line in lines)["oom_kill"])


def test_r11_two_hundred_jobs_fit(gocker: Gocker, low: Path) -> None:
    matrix = {"n": list(range(200))}
    result = gocker.up({"services": {"job": {"command": ["true"], "x-gocker": {"matrix": matrix}}}})
    assert result.code == 0, result
    assert len([it for it in result.events("job.finished") if it["verdict"] == "ok"]) == 200
    assert kills(low) == 0


def test_r11_the_job_is_killed_and_not_its_supervisor(gocker: Gocker, low: Path) -> None:
    greedy = ["sh", "-c", "x=a; while :; do x=$x$x; done"]
    result = gocker.up({"services": {
        "greedy": {"command": greedy},
        "after": {"command": ["true"], "x-gocker": {"when": "on_failure"},
                  "depends_on": {"greedy": {"condition": "service_completed_successfully"}}},
    }})  # fmt: skip
    assert result.code == 1, result
    assert (result.verdict("greedy"), result.verdict("after")) == ("oom", "ok")
    assert kills(low) == 0  # the victims are counted in the job's own cgroup
