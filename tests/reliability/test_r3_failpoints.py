"""R3: whatever step fails, in whatever way, nothing is left and the user is told which.

All steps with all faults: ``python -m tests.long.failpoints``.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

from gocker import failpoints
from gocker.errors import UsageError
from gocker.runtime import init
from tests.support.command import Gocker
from tests.support.failpoints import meet, problems, told

SAMPLE = [
    ("record.append", "enospc"),
    ("loop.start", "emfile:1"),
    ("output.pipe", "emfile"),
    ("container.prepare", "raise"),
    ("loop.ended", "kill"),
    ("launcher.start", "kill"),
    ("cgroup.limit", "eio"),
    ("layer.mount", "enospc"),
    ("container.fork", "eagain"),
    ("output.log", "enospc"),
    ("exec.leave", "eio"),
    ("exec.enter", "emfile"),
    ("init.mounts", "raise"),
    ("init.hostname", "kill"),
    ("call.setresuid", "enomem"),
    ("call.execve", "hang=0.1"),
]


@pytest.mark.root
@pytest.mark.parametrize(("name", "fault"), SAMPLE, ids=str)
def test_a_step_that_fails_is_named_and_leaves_nothing(
    gocker: Gocker, name: str, fault: str
) -> None:
    vfork = name != "container.fork"
    result = meet(gocker, name, fault, vfork=vfork)
    assert problems(result, name, fault) == [], result
    assert gocker.left_processes() == []
    assert gocker.sh("true").code == 0
    assert gocker.down("-v").code == 0


@pytest.mark.root
def test_a_fault_with_a_count_ends(gocker: Gocker) -> None:
    result = meet(gocker, "init.devices", "eio:1")
    assert [e["error"]["context"]["phase"] for e in result.events("container.failed")] == [
        "devices"
    ]
    assert result.events("container.started") != []


@pytest.mark.root
def test_a_first_process_that_cannot_even_report_ends(gocker: Gocker) -> None:
    """It is a copy of the launcher, and must not go on as one."""
    result = meet(gocker, "init.hostname", "eio,init.report=raise", vfork=False)
    assert result.code == 1
    assert {e["process.exit.code"] for e in result.events("container.exited")} == {255}
    assert "gocker launcher" not in result.err


@pytest.mark.root
def test_a_name_that_is_not_there_is_refused(gocker: Gocker) -> None:
    result = meet(gocker, "init.hostnam", "eio")
    assert result.code == 2
    assert "did you mean init.hostname" in told(result)


@pytest.mark.parametrize("text", ["x=eio", "run.create=eperm", "run.create=eio:x", "run.create"])
def test_what_is_not_name_and_fault_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        failpoints.parse(text)


def test_the_functions_of_all_names_are_there() -> None:
    for name, targets in failpoints.STEPS.items():
        for target in targets:
            module, _, path = target.partition(":")
            owner: object = importlib.import_module(f"gocker.{module}")
            *outer, last = path.split(".")
            for part in outer:
                owner = getattr(owner, part)
            assert last in vars(owner), (name, target)


def test_every_step_of_a_first_process_has_a_name() -> None:
    named = {target for targets in failpoints.STEPS.values() for target in targets}
    for step in (*init.OUTSIDE, *init.INSIDE):
        assert f"runtime.init:{step.__name__}" in named


def test_the_names_are_listed_by_a_command() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "gocker.failpoints"], capture_output=True, text=True, check=True
    )
    assert listed.stdout.split() == list(failpoints.STEPS)


def test_without_the_variable_nothing_of_it_is_loaded() -> None:
    environ = {key: value for key, value in os.environ.items() if key != failpoints.VARIABLE}
    program = (
        "import sys; from gocker.cli.main import run; run(['version']);"
        "import gocker.runtime.launcher; print('gocker.failpoints' in sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environ
    )
    assert loaded.stdout.split()[-1] == "False"
