"""R2, R4: SIGKILL at any moment of ``up``, ``down`` and ``exec`` leaves nothing for long.

200 shots, and crun and runc beside it: ``python -m tests.long.killfuzz``.
"""

from __future__ import annotations

import os
import random
import signal

import pytest

from tests.support import machine
from tests.support.command import Gocker
from tests.support.killfuzz import VICTIMS, Fuzz, digest, left

pytestmark = pytest.mark.root
SEED = random.SystemRandom().randrange(1 << 32)


def test_up_is_killed_at_any_moment(gocker: Gocker) -> None:
    fuzz = Fuzz(gocker, containers=10, seed=SEED)
    for _ in range(3):
        shot = fuzz.shot()
        assert shot.wrong == [], (SEED, shot)


@pytest.mark.parametrize("command", ["down", "gc"])
def test_what_cleans_up_is_killed_at_any_moment(gocker: Gocker, command: str) -> None:
    fuzz = Fuzz(gocker, containers=5, seed=SEED)
    for _ in range(2):
        running = gocker.start(fuzz.spec, *fuzz.options)
        running.wait_for("container.started")
        for pid in (*machine.children(running.pid), running.pid):
            os.kill(pid, signal.SIGKILL)
        running.finish()
        words = ("down", "-p", "test") if command == "down" else ("gc",)
        cleaner = gocker.popen(*words)
        machine.wait_ended(cleaner.pid, fuzz.chance.uniform(0.0, 0.6))
        for pid in (*machine.children(cleaner.pid), cleaner.pid):
            os.kill(pid, signal.SIGKILL)
        cleaner.communicate()
        assert fuzz.after() == [], SEED


def test_the_fuzz_sees_what_is_left(gocker: Gocker) -> None:
    """The other tests are worth something only if a run under way is something to them."""
    fuzz = Fuzz(gocker, containers=2, seed=1)
    running = gocker.start(fuzz.spec, *fuzz.options)
    running.wait_for("container.started", count=2)
    assert any("/gocker-test-" in thing for thing in left(gocker))
    assert running.finish().code == 0
    assert fuzz.digest == digest(fuzz.tree)
    (fuzz.tree / "d1/e1/f1").write_text("changed")
    assert fuzz.digest != digest(fuzz.tree)
    assert len(VICTIMS) == 4
