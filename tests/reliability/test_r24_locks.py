"""R24: a lock ends with its holder; one that lives is named."""

from __future__ import annotations

import os
import signal

import pytest

from tests.support import machine
from tests.support.command import Gocker, Running

pytestmark = pytest.mark.root


def holder(gocker: Gocker) -> Running:
    running = gocker.start({"services": {"job": {"command": ["sleep", "1000"]}}})
    running.wait_for("container.started")
    return running


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_project_is_free_when_its_holder_is_gone(gocker: Gocker, number: int) -> None:
    running = holder(gocker)
    running.send(number)
    running.finish()
    assert gocker.left_processes() == []
    assert gocker.sh("true").code == 0
    assert gocker.down().code == 0


def test_a_stopped_holder_is_named(gocker: Gocker) -> None:
    running = holder(gocker)
    running.send(signal.SIGSTOP)
    result = gocker.sh("true")
    assert result.code == 3
    assert f"in use by pid {running.pid}" in result.err
    running.send(signal.SIGCONT)
    running.send(signal.SIGTERM)
    running.finish()


def test_down_ends_a_stopped_holder(gocker: Gocker) -> None:
    """As one that was stopped by Ctrl-Z: it would never see the SIGTERM."""
    running = holder(gocker)
    pids = {running.pid, *machine.children(running.pid)}
    running.send(signal.SIGSTOP)
    assert gocker.down().code == 0
    assert running.finish().code == 143
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    assert gocker.runs() == []


def test_a_lock_file_with_another_pid_is_no_lock(gocker: Gocker) -> None:
    assert gocker.sh("true").code == 0
    (lock,) = gocker.live.glob("*/projects/test.lock")
    lock.write_text(f"{os.getpid()} a process that never held it\n")
    assert gocker.sh("true").code == 0
