"""Times are noisy, counts are not: no container may cost more system calls than it did."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from gocker.cgroup import mounts
from tests.bench.profile_container import Place, per_container

JOBS = 20
# Of one container of a batch with limits of memory, CPU and pids, and what is tolerated beside it:
# a read that comes in two parts, memory for the arena. docs/performance.md has the table.
LAUNCHER_AND_INIT = 380
FRONT = 29
TOLERANCE = 0.03
# How many events come at once, and who waits for a lock, is the machine's affair.
UNEVEN = {"epoll_wait", "recvmsg", "futex"}


@pytest.mark.root
@pytest.mark.skipif(mounts.read().mode == "v2", reason="the figures are of cgroup v1")
@pytest.mark.parametrize(
    ("front", "most"), [(False, LAUNCHER_AND_INIT), (True, FRONT)], ids=["launcher", "front"]
)
def test_a_container_costs_no_more_system_calls(front: bool, most: int) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as top:
        calls = per_container(Place(Path(top), None), JOBS, front=front)
    count = sum(number for name, number in calls.items() if name not in UNEVEN)
    assert count <= most * (1 + TOLERANCE), calls
    if not front:
        assert calls["clone3"] == pytest.approx(1, abs=0.1)
