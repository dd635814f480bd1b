"""R6: what gocker has told is on the disk: a power cut loses no acknowledged result.

100 moments of a batch of 500: ``python -m tests.long r6``.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator

import pytest

from tests.support import machine
from tests.support.command import Gocker, Spec
from tests.support.disk import Disk

pytestmark = pytest.mark.root
RESULTS = ("container.exited", "container.failed", "job.finished", "run.finished")


@pytest.fixture
def disk(gocker: Gocker) -> Iterator[Disk]:
    made = Disk(gocker.root / "disk.img", gocker.data)
    try:
        yield made
    finally:
        made.umount()


def batch(jobs: int) -> Spec:
    return {
        "services": {
            f"j{number}": {"command": ["sh", "-c", f"exit {number % 5}"]} for number in range(jobs)
        }
    }


def told(output: bytes) -> dict[tuple[str, str], object]:
    """Return the results that were told, by event and instance."""
    found: dict[tuple[str, str], object] = {}
    for line in output.splitlines(keepends=True):
        if line.startswith(b"{") and line.endswith(b"}\n"):
            record = json.loads(line)
            if record["event"] in RESULTS:
                found[record["event"], record.get("instance", "")] = record
    return found


def cut(gocker: Gocker, disk: Disk, jobs: int, moment_s: float) -> tuple[int, int]:
    """Cut the power in a batch; return how many results were told and how many are lost."""
    running = gocker.start(batch(jobs))
    machine.wait_ended(running.pid, moment_s)
    disk.cut_power()
    # Nothing is told from here on: a sync fails. The machine is without power now.
    for pid in (*machine.children(running.pid), running.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    running.end()
    assert gocker.left_processes() == []
    before = told(running.errors())
    disk.umount()
    disk.mount()
    (run,) = gocker.runs() or [gocker.data / "none"]
    log = run / "run.jsonl"
    after = told(log.read_bytes()) if log.exists() else {}
    lost = [key for key, record in before.items() if after.get(key) != record]
    # The next command finds a data root that it can use, whatever is missing in it.
    assert gocker.down().code == 0
    assert gocker.command("gc").code == 0
    assert gocker.sh("true").code == 0
    assert gocker.down().code == 0
    return len(before), len(lost)


def power_cuts(gocker: Gocker, disk: Disk, jobs: int, moments: int) -> tuple[int, int]:
    """Cut the power at random moments of a batch; return the sums of `cut`."""
    began = time.monotonic()
    gocker.up(batch(jobs))
    whole_s = time.monotonic() - began
    assert gocker.down().code == 0
    chance = random.Random(6)  # noqa: S311  # a repeatable test, not a secret
    acknowledged = lost = 0
    for _ in range(moments):
        one = cut(gocker, disk, jobs, chance.uniform(0.1, 1.1) * whole_s)
        acknowledged += one[0]
        lost += one[1]
    return acknowledged, lost


def test_a_power_cut_loses_no_result_that_was_told(gocker: Gocker, disk: Disk) -> None:
    acknowledged, lost = power_cuts(gocker, disk, jobs=30, moments=4)
    assert acknowledged > 0
    assert lost == 0
