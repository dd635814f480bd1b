"""The control socket fails at each of its steps: who asked is told, nothing is left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.command import Gocker
from tests.support.living import Project, service, wait_gone

pytestmark = pytest.mark.root


@pytest.fixture
def project(gocker: Gocker) -> Iterator[Project]:
    made = Project(gocker)
    yield made
    assert gocker.down("-t", "1").code == 0
    gocker.check()


def up(project: Project, faults: str) -> tuple[int, str]:
    path = project.gocker.write({"services": {"web": service()}})
    environ = {"GOCKER_FAILPOINTS": faults}
    result = project.gocker.command("up", str(path), "-d", environ=environ)
    return result.code, result.err


@pytest.mark.parametrize("fault", ["eio", "emfile", "raise"])
def test_a_project_that_cannot_listen_does_not_start(project: Project, fault: str) -> None:
    code, text = up(project, f"control.listen={fault}:1")
    assert code != 0
    assert "control.listen" in text
    assert project.gocker.left_processes() == []


def test_a_request_that_fails_is_told_and_the_project_lives_on(project: Project) -> None:
    assert up(project, "control.request=raise:1")[0] == 0
    pid = project.pids()["web"]
    result = project.do("pause")
    assert result.code != 0
    assert "control.request" in result.err
    project.ok("pause")
    project.ok("unpause")
    assert project.pids() == {"web": pid}


def test_a_supervisor_that_dies_at_a_request_leaves_nothing(project: Project) -> None:
    assert up(project, "control.request=kill:1")[0] == 0
    pid = project.pids()["web"]
    # Who asked reads its end, and finds a project in which nothing runs.
    project.ok("stop")
    wait_gone(pid)
    assert project.states() == {"web": "lost"}
