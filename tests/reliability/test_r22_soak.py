"""R22: twenty thousand life cycles leave memory, descriptors, cgroups and disk as they were.

``python -m tests.long r22``; this is a small one, which only looks for growth by the number of
cycles.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import machine
from tests.support.command import Gocker, Running, Spec

pytestmark = pytest.mark.root
UNITS = 20


class Sample(NamedTuple):
    """What a run holds at one moment. Memory is the launcher's: the front keeps its records."""

    cycles: int
    front_kib: int
    launcher_kib: int
    front_fds: int
    launcher_fds: int
    cgroups: int
    dying_cgroups: int
    directories: int


def rss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))


def dying() -> int:
    """Return the dying cgroups of the unified hierarchy, where the kernel tells them."""
    for path in ("/sys/fs/cgroup/unified/cgroup.stat", "/sys/fs/cgroup/cgroup.stat"):
        if os.path.exists(path):
            words = Path(path).read_text().split()
            return int(words[words.index("nr_dying_descendants") + 1])
    return 0


def sample(gocker: Gocker, running: Running, cycles: int) -> Sample:
    """Stop the front, wait until the launcher is idle, and look; then let it go on."""
    launcher = machine.children(running.pid)[0]
    return Sample(
        cycles, rss_kib(running.pid), rss_kib(launcher),
        len(os.listdir(f"/proc/{running.pid}/fd")), len(os.listdir(f"/proc/{launcher}/fd")),
        len(gocker.nest.content()), dying(), len(gocker.files("data/containers")),
    )  # fmt: skip


def soak(gocker: Gocker, cycles: int, samples: int) -> list[Sample]:
    """Let units fail again and again in one run; return what it holds meanwhile."""
    retry = {"max": cycles // UNITS + 100, "delay": "0s"}
    spec: Spec = {
        "services": {
            f"u{number}": {"command": ["sh", "-c", "echo x >/x; exit 1"], "mem_limit": "32m",
                           "x-gocker": {"retry": retry}}
            for number in range(UNITS)
        }
    }  # fmt: skip
    running = gocker.start(spec, "--parallel", "4")
    found = []
    for number in range(1, samples + 1):
        count = cycles * number // samples
        running.wait_for("container.exited", count=count)
        found.append(sample(gocker, running, count))
    running.send(signal.SIGINT)
    running.send(signal.SIGINT)
    assert running.finish().code == 130
    return found


def growth(found: list[Sample]) -> dict[str, float]:
    """Return how much the last quarter's mean is above the third quarter's, in parts of it."""
    quarter = len(found) // 4
    third, last = found[2 * quarter : 3 * quarter], found[3 * quarter :]
    result = {}
    for name in Sample._fields[1:]:
        before = sum(getattr(item, name) for item in third) / len(third)
        after = sum(getattr(item, name) for item in last) / len(last)
        result[name] = (after - before) / max(before, 1.0)
    return result


def test_nothing_grows_with_the_cycles(gocker: Gocker) -> None:
    found = soak(gocker, cycles=240, samples=8)
    last, first = found[-1], found[1]
    assert last.launcher_fds - first.launcher_fds <= 8, found
    assert last.front_fds - first.front_fds <= 8, found
    assert last.cgroups - first.cgroups <= 40 * 8, found
    assert last.directories <= 64 + 40, found
