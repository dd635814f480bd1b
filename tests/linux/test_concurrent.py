"""Commands on one project at the same time (security.md R23, R24, R29)."""

from __future__ import annotations

import os
import signal

import pytest

from tests.support.command import Gocker
from tests.support.crowd import SPEC, play
from tests.support.living import Project

pytestmark = pytest.mark.root


@pytest.mark.parametrize("seed", [1, 2])
def test_commands_at_once_end_without_a_word_about_locks(gocker: Gocker, seed: int) -> None:
    # The long version: python -m tests.long.concurrent
    found = play(gocker, 8, seed, ("up", "down", "ps", "run"))
    assert found.complaints == []
    assert found.ended == 8


def test_stops_and_starts_at_once_end_too(gocker: Gocker) -> None:
    kinds = ("up", "down", "stop", "start", "restart", "kill")
    assert play(gocker, 8, 3, kinds).complaints == []


def test_doing_it_twice_changes_nothing(gocker: Gocker) -> None:
    project = Project(gocker)
    for _ in range(2):
        assert gocker.down().code == 0
    assert project.up(SPEC).code == 0
    pids, count = project.pids(), len(project.records())
    assert project.up(None).code == 0
    assert (project.pids(), len(project.records())) == (pids, count)
    for _ in range(2):
        project.ok("kill", "web")
    project.ok("stop")
    project.ok("stop")
    assert gocker.down().code == 0
    assert gocker.down().code == 0


def test_a_holder_that_is_stopped_is_waited_for_and_the_next_goes_on(gocker: Gocker) -> None:
    project = Project(gocker)
    assert project.up(SPEC).code == 0
    pids, supervisor = project.pids(), project.supervisor()

    os.kill(supervisor, signal.SIGSTOP)
    waiting = gocker.popen("stop", "-p", "test", "web")
    os.kill(supervisor, signal.SIGCONT)
    out, err = waiting.communicate(timeout=30)
    assert waiting.returncode == 0, (out, err)
    assert project.pids() == {"db": pids["db"]}
    assert gocker.down("-t", "2").code == 0
