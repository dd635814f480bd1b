"""Runs on pure cgroup v2, where every limit has its controller: as root, and as a user.

In `python -m tests.vm`, which is slow: nothing here depends on time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gocker.cgroup import mounts
from tests.support import ordinary
from tests.support.command import Gocker, Spec
from tests.support.ordinary import Ordinary

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        mounts.read().mode != "v2", reason="needs pure cgroup v2: python -m tests.vm"
    ),
]
MIB = 1 << 20
CROWD = "for n in $(seq 40); do sleep 1000 & done; wait"


@pytest.fixture
def delegated(rootfs: Path) -> Iterator[Ordinary]:
    if (reason := ordinary.why_not()) is not None:
        pytest.skip(reason)
    made = Ordinary(rootfs, delegated=True)
    try:
        yield made
        made.check()
    finally:
        made.close()


@pytest.fixture(params=["gocker", "delegated"])
def anyone(request: pytest.FixtureRequest) -> Gocker:
    made: Gocker = request.getfixturevalue(request.param)
    return made


def test_the_rung_is_recorded(anyone: Gocker) -> None:
    result = anyone.sh("cat /proc/self/cgroup")
    assert result.code == 0, result
    started = result.event("run.started")
    assert started["host.cgroup"] == "v2"
    assert started["isolation"] == (
        "rootless-delegated" if isinstance(anyone, Ordinary) else "root"
    )  # fmt: skip
    assert result.log() == "0::/\n"


def test_memory_is_limited_and_an_oom_kill_told(anyone: Gocker) -> None:
    result = anyone.job("tail", "/dev/zero", mem_limit="32m")
    assert result.verdict() == "oom", result
    assert result.limits()["memory.limit"] == 32 * MIB
    exited = result.event("container.exited")
    assert exited["memory.oom_kills"] >= 1
    assert 30 * MIB < exited["memory.peak"] <= 33 * MIB


def test_tasks_are_limited_and_the_hit_told(anyone: Gocker) -> None:
    result = anyone.sh(CROWD, pids_limit=12)
    assert result.verdict() == "pids", result
    exited = result.event("container.exited")
    assert exited["pids.denied"] >= 1


def test_a_cpu_quota_throttles(anyone: Gocker) -> None:
    script = "n=0; while [ $n -lt 20000 ]; do n=$((n+1)); done"
    result = anyone.sh(script, cpus=0.05)
    assert result.code == 0, result
    assert result.limits()["cpu.quota"] == 5000
    assert result.event("container.exited")["cpu.throttled_periods"] > 0


def test_a_project_is_paused_and_goes_on(anyone: Gocker) -> None:
    script = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"
    spec: Spec = {"services": {"web": {"command": ["sh", "-c", script]}}}
    path = anyone.write(spec)
    assert anyone.command("up", "-d", str(path)).code == 0
    try:
        assert anyone.command("pause", "-p", "test", "web").code == 0
        refused = anyone.command("exec", "-p", "test", "web", "true")
        assert "is paused" in refused.err, refused
        assert anyone.command("unpause", "-p", "test", "web").code == 0
        assert anyone.command("exec", "-p", "test", "web", "true").code == 0
    finally:
        assert anyone.down().code == 0
