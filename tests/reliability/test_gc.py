"""Leftovers are found from the kernel alone, with an empty or damaged state."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.linux.test_leftovers import both
from tests.support import machine
from tests.support.command import Gocker, Running, Spec

pytestmark = pytest.mark.root

# A job may take back what makes it die with its launcher; the cgroup is what is left then.
CLEAR = (
    "import ctypes, os, time; libc = ctypes.CDLL(None); libc.prctl(1, 0, 0, 0, 0);"
    "print('cleared', flush=True); time.sleep(1000)"
)
SURVIVOR: Spec = {
    "services": {
        "job": {"image": "host:/", "command": ["/usr/bin/python3", "-c", CLEAR], "mem_limit": "64m"}
    }
}


def survivor(gocker: Gocker) -> Running:
    """Start a job that outlives its launcher."""
    running = gocker.start(SURVIVOR)
    running.wait_for("container.started")
    running.wait_for_output("cleared")
    return running


def items(gocker: Gocker, *options: str) -> dict[str, list[str]]:
    result = gocker.command("gc", "--format", "json", *options)
    assert result.code == 0, result
    found: dict[str, list[str]] = {}
    for item in json.loads(result.out)["items"]:
        found.setdefault(item["kind"], []).append(item["name"])
    return found


def test_gc_removes_what_a_killed_run_left_and_nothing_twice(gocker: Gocker) -> None:
    running = survivor(gocker)
    both(running)
    running.finish()
    assert set(items(gocker, "--dry-run")) == {"cgroup", "directory", "socket"}
    assert gocker.left_things() != []
    assert set(items(gocker)) == {"cgroup", "directory", "socket"}
    assert list(gocker.live.glob("*/projects/test/*")) == []
    assert gocker.left_processes() == []
    assert gocker.left_things() == []
    assert items(gocker) == {}


@pytest.mark.parametrize("cleaner", ["gc", "down", "up"])
def test_a_survivor_is_found_with_an_empty_state(gocker: Gocker, cleaner: str) -> None:
    running = survivor(gocker)
    both(running)
    running.finish()
    shutil.rmtree(gocker.data)
    if cleaner == "gc":
        assert items(gocker)["cgroup"] != []
    elif cleaner == "down":
        assert gocker.down().code == 0
    else:
        assert gocker.sh("true").code == 0
    assert gocker.left_processes() == []
    assert gocker.left_things() == []


@pytest.mark.parametrize("cleaner", ["gc", "down"])
def test_a_running_container_is_spared_with_an_empty_state(gocker: Gocker, cleaner: str) -> None:
    """Its launcher lives, and is what tells it from a leftover."""
    running = survivor(gocker)
    (run,) = gocker.runs()
    away = gocker.root / "away"
    run.rename(away)
    if cleaner == "gc":
        assert "cgroup" not in items(gocker)
    else:
        assert gocker.command("down", "-p", "elsewhere").code == 0
    (container,) = machine.children(running.launcher())
    assert os.path.exists(f"/proc/{container}")
    away.rename(run)
    running.send(signal.SIGTERM)
    assert running.finish().code == 143


def test_a_process_that_calls_itself_a_launcher_is_a_leftover(gocker: Gocker) -> None:
    name = "libc.prctl(15, b'gocker-launcher', 0, 0, 0);"
    program = CLEAR.replace("print", name + "os.fork(); print")
    running = gocker.start(
        {"services": {"job": {"image": "host:/", "command": ["/usr/bin/python3", "-c", program]}}}
    )
    running.wait_for_output("cleared")
    both(running)
    running.finish()
    shutil.rmtree(gocker.data)
    assert items(gocker)["cgroup"] != []
    assert gocker.left_processes() == []


def test_gc_takes_nothing_of_what_runs_or_has_finished(gocker: Gocker) -> None:
    assert gocker.sh("echo kept").code == 0
    running = survivor(gocker)
    assert items(gocker) == {}
    running.send(signal.SIGTERM)
    assert running.finish().code == 143
    assert len(gocker.runs()) == 2
    assert items(gocker) == {}
    assert len(gocker.runs()) == 2


def test_gc_keeps_a_damaged_run_aside(gocker: Gocker) -> None:
    assert gocker.sh("echo precious").code == 0
    (run,) = gocker.runs()
    (run / "run.json").write_bytes(b"\0" * 100)
    assert items(gocker, "--dry-run") == {"damaged run": [run.name]}
    assert run.exists()
    assert items(gocker) == {"damaged run": [run.name]}
    assert not run.exists()
    aside = gocker.data / "aside" / run.name
    assert (aside / "logs/job.log").read_text() == "precious\n"
    assert items(gocker) == {}


def test_down_finds_a_damaged_run_by_its_log(gocker: Gocker) -> None:
    assert gocker.sh("true").code == 0
    (run,) = gocker.runs()
    (run / "run.json").write_bytes(b"")
    result = gocker.down()
    assert (result.code, gocker.runs()) == (0, [])
    assert f"kept aside run {run.name}" in result.err


def test_down_stops_a_living_run_whose_record_is_damaged(gocker: Gocker) -> None:
    running = survivor(gocker)
    (run,) = gocker.runs()
    (run / "run.json").write_bytes(b"{")
    assert gocker.down().code == 0
    assert running.finish().code == 143
    assert (gocker.data / "aside" / run.name).exists()


def test_gc_removes_temporary_files_of_killed_writers(gocker: Gocker) -> None:
    spec: Spec = {
        "services": {"job": {"command": ["true"], "volumes": ["vol:/vol"]}},
        "volumes": {"vol": {}},
    }
    assert gocker.up(spec).code == 0
    owners = gocker.data / "volumes/.owner"
    old, new = owners / ".test_vol.0123abcd", owners / ".test_vol.89abcdef"
    for path in (old, new):
        path.write_text("{")
    os.utime(old, (0, 0))
    assert items(gocker) == {"temporary file": ["volumes/.owner/.test_vol.0123abcd"]}
    assert (old.exists(), new.exists(), (owners / "test_vol").exists()) == (False, True, True)


def test_a_run_of_a_newer_gocker_stays(gocker: Gocker) -> None:
    assert gocker.sh("true").code == 0
    (run,) = gocker.runs()
    path = run / "run.json"
    facts = json.loads(path.read_text())
    del facts["digest"]
    newer = json.dumps(facts | {"schema": 99})
    path.write_text(newer)
    result = gocker.down()
    assert result.code == 3
    assert "has schema 99" in result.err
    assert gocker.command("gc").code == 0
    assert gocker.sh("true").code == 0
    assert Path(path).read_text() == newer
    # For the fixture, and for whoever really goes back to an older gocker.
    shutil.rmtree(run)
