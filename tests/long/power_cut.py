"""R6: power cuts in a batch. ``unshare -m python -m tests.long.power_cut [JOBS [MOMENTS]]``

In a mount namespace of its own: no other process may keep the disk once its power is gone.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time

from tests.long.support import busybox_rootfs
from tests.support import machine
from tests.support.command import Gocker, Spec
from tests.support.disk import Disk

RESULTS = ("container.exited", "container.failed", "job.finished", "run.finished")


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
    for number in range(1, moments + 1):
        one = cut(gocker, disk, jobs, chance.uniform(0.1, 1.1) * whole_s)
        acknowledged += one[0]
        lost += one[1]
        if number % 10 == 0:
            print(f"  {number} cuts: told {acknowledged}, lost {lost}", flush=True)
    return acknowledged, lost


def main(jobs: int = 500, moments: int = 100) -> int:
    """Run it on a disk of its own."""
    with busybox_rootfs() as rootfs:
        gocker = Gocker(image=f"rootfs:{rootfs}")
        disk = Disk(gocker.root / "disk.img", gocker.data, megabytes=256)
        try:
            acknowledged, lost = power_cuts(gocker, disk, jobs, moments)
        finally:
            disk.umount()
            gocker.close()
    print(f"R6: {moments} power cuts, results told {acknowledged}, lost {lost}")
    return int(lost > 0 or acknowledged == 0)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
