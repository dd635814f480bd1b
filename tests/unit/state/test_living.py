from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gocker.errors import HostError
from gocker.log import Console, RunLog
from gocker.report.output import Sink
from gocker.state import holder, living
from gocker.state.living import Living, choose
from gocker.state.roots import Roots
from gocker.state.run import Run

START = {"service": "web", "instance": "web", "attempt": 1, "image": "host:/", "start_s": 0.1}


def started(run: Run, number: int, start_time: int | None, pid: int | None = None) -> None:
    with run.opened() as fd:
        log = RunLog("run.jsonl", run.id, "p", Console(Sink(-1), "none"), dir_fd=fd)
        fields = {**START, "container.id": f"{run.id}-{number}", "process.pid": pid or os.getpid()}
        if start_time is not None:
            fields["process.start_time"] = start_time
        log.record("container.started", fields)
        log.close()


@pytest.fixture
def run(roots: Roots) -> Run:
    return Run.create(roots, "p", ())


def own_start() -> int:
    found = holder.start_time(os.getpid())
    assert found is not None
    return found


def test_a_process_that_is_the_recorded_one_lives(roots: Roots, run: Run) -> None:
    started(run, 1, own_start())
    (found,) = living.running(roots, "p")
    assert (found.id, found.service, found.pid) == (f"{run.id}-1", "web", os.getpid())


@pytest.mark.parametrize("change", [-1, 1, None])
def test_another_process_with_its_number_does_not(run: Run, change: int | None) -> None:
    started(run, 1, None if change is None else own_start() + change)
    assert living.of(run) == []


def test_of_another_boot_nothing_lives(roots: Roots, run: Run) -> None:
    started(run, 1, own_start())
    path = Path(run.path, "run.json")
    facts = json.loads(path.read_text())
    facts["holder"]["boot_id"] = "another"
    path.write_text(json.dumps(facts))
    assert living.of(Run.load(roots, run.id)) == []


def test_a_run_that_has_finished_is_not_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    started(run, 1, own_start())
    with open(Path(run.path, "run.jsonl"), "a") as file:
        file.write('{"event":"run.finished"}\n')
    monkeypatch.setattr(living, "of_run", None)
    assert living.of(run) == []


def of(service: str, instance: str) -> Living:
    return Living("id", None, service, instance, "", 1, 1, "")  # type: ignore[arg-type]  # unused


def test_instances_are_chosen_by_their_number_or_name() -> None:
    found = [of("web", "web-1"), of("web", "web-2"), of("db", "db")]
    assert choose(found, "web", None).instance == "web-1"
    assert choose(found, "web", 2).instance == "web-2"
    assert choose(found[1:], "web", 2).instance == "web-2"
    assert choose(found[1:], "web", None).instance == "web-2"
    assert choose(found, "web-2", None).instance == "web-2"
    assert choose(found, "db", 1).instance == "db"
    for service, index in (("web", 3), ("web", 0), ("web", -1), ("other", None), ("db", 2)):
        with pytest.raises(HostError, match=service):
            choose(found, service, index)
