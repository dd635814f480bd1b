from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gocker.errors import HostError
from gocker.log import Console, RunLog
from gocker.report.output import Sink
from gocker.state.containers import ContainerState, containers
from gocker.state.leftovers import container_path, remove_container, stale_containers
from gocker.state.roots import Roots
from gocker.state.run import Run
from tests.support.records import sample


def write(run: Run, *records: tuple[str, dict[str, Any]]) -> None:
    with (
        run.opened() as fd,
        RunLog("run.jsonl", run.id, run.project, Console(Sink(-1), "none"), dir_fd=fd) as log,
    ):
        for event, fields in records:
            log.record(event, sample(event, **fields))


A = {"container__id": "r-a", "instance": "a", "attempt": 1}


def states(roots: Roots, *records: tuple[str, dict[str, Any]]) -> list[ContainerState]:
    run = Run.create(roots, "demo", ())
    write(run, *records)
    found = containers(roots, "demo")
    run.close()
    return found


def test_a_started_container_runs_with_its_pid(roots: Roots) -> None:
    (a,) = states(roots, ("container.started", {**A, "process__pid": 77}))
    assert (a.id, a.status, a.pid, a.instance) == ("r-a", "running", 77, "a")


def test_an_exited_container_has_its_exit_code(roots: Roots) -> None:
    (a,) = states(
        roots,
        ("container.started", A),
        ("container.exited", {**A, "process__exit__code": 7, "verdict": "exit"}),
    )
    assert (a.status, a.exit_code, a.verdict) == ("exited", 7, "exit")


def test_a_container_that_could_not_start_has_failed(roots: Roots) -> None:
    (a,) = states(roots, ("container.failed", {**A, "verdict": "start_failed"}))
    assert (a.status, a.verdict) == ("failed", "start_failed")


def test_health_is_the_last_one_said(roots: Roots) -> None:
    (a,) = states(
        roots,
        ("container.started", A),
        ("container.health", {**A, "status": "unhealthy"}),
        ("container.health", {**A, "status": "healthy"}),
    )
    assert a.health == "healthy"


def test_two_attempts_are_two_containers(roots: Roots) -> None:
    found = states(
        roots,
        ("container.started", A),
        ("container.exited", A),
        ("container.started", {**A, "container__id": "r-a-2", "attempt": 2}),
    )
    assert [(state.attempt, state.status) for state in found] == [(1, "exited"), (2, "running")]


def test_what_still_ran_when_the_run_died_is_lost(roots: Roots) -> None:
    run = Run.create(roots, "demo", ())
    write(run, ("container.started", A))
    run.close()
    assert [state.status for state in containers(roots)] == ["lost"]


def test_a_run_without_a_log_has_no_containers(roots: Roots) -> None:
    assert states(roots) == []


def test_a_fifo_in_the_place_of_the_log_does_not_block(roots: Roots) -> None:
    run = Run.create(roots, "demo", ())
    os.mkfifo(Path(run.path, "run.jsonl"))
    assert containers(roots) == []
    run.close()


def test_directories_of_dead_runs_are_stale_and_of_living_ones_not(roots: Roots) -> None:
    dead, alive = Run.create(roots, "demo", ()), Run.create(roots, "demo", ())
    dead.close()
    for container_id in (f"{dead.id}-a", f"{alive.id}-a", "strange"):
        Path(container_path(roots, container_id), "upper").mkdir(parents=True)
    Path(roots.data, "containers").chmod(0o700)
    assert stale_containers(roots) == [f"{dead.id}-a"]
    remove_container(roots, f"{dead.id}-a")
    for kept in (f"{alive.id}-a", "strange"):
        with pytest.raises(HostError, match="not a container whose run has ended"):
            remove_container(roots, kept)
    assert set(os.listdir(Path(roots.data, "containers"))) == {f"{alive.id}-a", "strange"}
    alive.close()
