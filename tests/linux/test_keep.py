"""Services that outlive their supervisor: x-gocker.on_supervisor_death: keep."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Gocker, Spec
from tests.support.living import LOOP, POLITE, Project, service, wait_for, wait_gone

pytestmark = pytest.mark.root

KEEP = {"on_supervisor_death": "keep"}
# Says what it is told through a file, so that output after a moment can be told from that before.
WAITS = "while [ ! -e /v/go ]; do sleep 0.02; done"
TALKS = f"trap 'exit 7' TERM; echo before; {WAITS}; echo after; {LOOP}"


def kept(script: str = POLITE, **keys: Any) -> Spec:
    return service(script, x_gocker=KEEP, **keys)


@pytest.fixture
def project(gocker: Gocker) -> Iterator[Project]:
    made = Project(gocker)
    yield made
    assert gocker.down("-t", "1").code == 0
    assert gocker.left_processes() == []


def lose(project: Project) -> None:
    """Kill the supervisor by SIGKILL, and wait until it is gone."""
    supervisor = project.supervisor()
    resumed = project.events("run.resumed")
    if resumed:
        supervisor = resumed[-1]["process.pid"]
    os.kill(supervisor, signal.SIGKILL)
    wait_gone(supervisor)


def launcher_of(pid: int) -> int:
    """Return the parent of a container's first process. Source: proc_pid_stat(5), field 4."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_kept_services_live_on_and_others_die(project: Project) -> None:
    project.up({"services": {"db": kept(), "web": service()}})
    pids = project.pids()
    lose(project)
    wait_gone(pids["web"])
    assert alive(pids["db"])
    wait_for(lambda: project.states() == {"db": "running", "web": "lost"})


def test_output_goes_on_to_the_same_log(project: Project) -> None:
    directory = project.gocker.root / "v"
    directory.mkdir()
    project.up({"services": {"db": kept(TALKS, volumes=[f"{directory}:/v"])}})
    wait_for(lambda: project.log("db").read_text() == "before\n")
    lose(project)
    (directory / "go").touch()
    wait_for(lambda: project.log("db").read_text() == "before\nafter\n")
    assert project.ok("logs", "--no-log-prefix", "db").out == "before\nafter\n"


def test_exec_enters_without_a_supervisor(project: Project) -> None:
    project.up({"services": {"db": kept()}})
    lose(project)
    result = project.do("exec", "-T", "db", "sh", "-c", "echo hi; exit 3")
    assert (result.code, result.out) == (3, "hi\n")


def test_stop_ends_what_was_kept(project: Project) -> None:
    project.up({"services": {"db": kept(), "web": kept()}})
    pids = project.pids()
    lose(project)
    project.ok("stop", "db")
    wait_gone(pids["db"])
    assert alive(pids["web"])
    (ended,) = project.events("container.exited", "db")
    assert ended["process.exit.code"] == 0
    assert project.states() == {"db": "exited", "web": "running"}


def test_down_leaves_nothing(project: Project) -> None:
    project.up({"services": {"db": kept()}})
    pid = project.pids()["db"]
    lose(project)
    project.ok("down")
    assert not alive(pid)
    assert project.gocker.left_processes() == []
    assert not list(project.gocker.live.glob("*/projects/test/kept"))


def test_wait_has_the_exit_code_of_what_ended_without_a_supervisor(project: Project) -> None:
    directory = project.gocker.root / "v"
    directory.mkdir()
    script = f"{WAITS}; echo last; exit 9"
    project.up({"services": {"db": kept(script, volumes=[f"{directory}:/v"])}})
    pid = project.pids()["db"]
    lose(project)
    (directory / "go").touch()
    wait_gone(pid)
    wait_for(lambda: project.gocker.left_processes() == [])
    assert project.states() == {"db": "exited"}
    assert project.do("wait", "db").code == 9
    (ended,) = project.events("container.exited", "db")
    assert ended["process.exit.code"] == 9
    assert project.log("db").read_text() == "last\n"


def test_wait_waits_for_what_still_runs(project: Project) -> None:
    directory = project.gocker.root / "v"
    directory.mkdir()
    script = f"{WAITS}; exit 5"
    project.up({"services": {"db": kept(script, volumes=[f"{directory}:/v"])}})
    lose(project)
    assert project.do("wait", "--timeout", "0.1", "db").code == 124
    (directory / "go").touch()
    assert project.do("wait", "db").code == 5


def test_a_second_up_takes_over_and_changes_nothing(project: Project) -> None:
    spec: Spec = {"services": {"db": kept(), "web": service(depends_on=["db"])}}
    project.up(spec)
    before = project.pids()
    lose(project)
    wait_gone(before["web"])
    result = project.up(None)
    assert result.code == 0, result
    after = project.pids()
    assert after["db"] == before["db"]
    assert after["web"] != before["web"]
    assert project.states() == {"db": "running", "web": "running"}
    numbers = [record["seq"] for record in project.records()]
    assert numbers == list(range(1, len(numbers) + 1))
    ids = [record["container.id"] for record in project.events("container.started")]
    assert len(set(ids)) == len(ids)


def test_the_new_supervisor_restarts_what_ended_meanwhile(project: Project) -> None:
    directory = project.gocker.root / "v"
    directory.mkdir()
    script = f"if [ -e /v/go ]; then {LOOP}; fi; {WAITS}; exit 4"
    spec = {"services": {"db": kept(script, volumes=[f"{directory}:/v"], restart="always")}}
    project.up(spec)
    pid = project.pids()["db"]
    lose(project)
    (directory / "go").touch()
    wait_gone(pid)
    assert project.up(None, "--wait").code == 0
    (ended,) = project.events("container.exited", "db")
    assert (ended["process.exit.code"], ended["next"]) == (4, "restart")
    wait_for(lambda: project.states()["db"] == "running")
    assert project.events("container.started", "db")[-1]["attempt"] == 2


def test_the_new_supervisor_probes_health(project: Project) -> None:
    directory = project.gocker.root / "v"
    directory.mkdir()
    (directory / "ok").touch()
    check = {"test": ["CMD", "test", "-e", "/v/ok"], "interval": "50ms", "retries": 1}
    spec = {"services": {"db": kept(volumes=[f"{directory}:/v"], healthcheck=check)}}
    assert project.up(spec, "--wait").code == 0
    lose(project)
    project.ok("kill", "-s", "CONT", "db")
    (directory / "ok").unlink()
    wait_for(lambda: project.events("container.health", "db")[-1]["status"] == "unhealthy")


def test_a_supervisor_that_took_over_can_be_lost_as_well(project: Project) -> None:
    project.up({"services": {"db": kept()}})
    pid = project.pids()["db"]
    for _ in range(3):
        lose(project)
        project.ok("kill", "-s", "CONT", "db")
    assert alive(pid)
    project.ok("down")
    assert not alive(pid)


def test_pause_outlives_the_supervisor(project: Project) -> None:
    project.up({"services": {"db": kept()}})
    project.ok("pause", "db")
    lose(project)
    assert project.states() == {"db": "paused"}
    project.ok("unpause", "db")
    assert project.states() == {"db": "running"}


def test_a_terminal_is_read_on(project: Project) -> None:
    directory = project.gocker.root / "v"
    directory.mkdir()
    project.up({"services": {"db": kept(TALKS, tty=True, volumes=[f"{directory}:/v"])}})
    wait_for(lambda: project.log("db").exists() and project.log("db").stat().st_size)
    lose(project)
    (directory / "go").touch()
    wait_for(lambda: project.log("db").read_bytes() == b"before\r\nafter\r\n")
    project.ok("stop", "db")
    (ended,) = project.events("container.exited", "db")
    assert ended["process.exit.code"] == 7


def test_networks_and_ports_live_on(project: Project) -> None:
    serve = (
        "trap 'exit 0' TERM; mkdir -p /tmp/w; echo page > /tmp/w/x; httpd -f -p 80 -h /tmp/w & wait"
    )
    spec = {
        "services": {
            "db": kept(serve, networks=["n"], ports=["127.0.0.1:0:80"]),
            "web": kept(networks=["n"]),
        },
        "networks": {"n": {}},
    }
    result = project.up(spec)
    assert result.code == 0, result
    lose(project)
    fetch = ["exec", "-T", "web", "sh", "-c", "wget -q -O - http://db/x"]
    assert project.ok(*fetch).out == "page\n"
    # A new supervisor makes a container in the same network.
    project.ok("restart", "web")
    assert project.ok(*fetch).out == "page\n"
    project.ok("restart", "db")
    wait_for(lambda: project.do(*fetch).out == "page\n")


def test_nothing_is_left_when_the_launcher_is_killed_as_well(project: Project) -> None:
    project.up({"services": {"db": kept()}})
    pid = project.pids()["db"]
    launcher = launcher_of(pid)
    lose(project)
    os.kill(launcher, signal.SIGKILL)
    wait_gone(launcher)
    wait_gone(pid)
    project.do("ps")
    assert project.states() == {"db": "lost"}
    assert project.do("wait", "db").code == 137
    assert project.up(None).code == 0
    assert project.states() == {"db": "running"}


def test_a_foreground_up_that_is_killed_leaves_them_as_well(gocker: Gocker) -> None:
    project = Project(gocker)
    running = gocker.start({"services": {"db": kept()}})
    pid = running.wait_for("container.started", "db")["process.pid"]
    running.send(signal.SIGKILL)
    # The launcher lets go of the command's output: this reads its end.
    running.finish()
    assert alive(pid)
    project.ok("stop")
    wait_gone(pid)
    assert gocker.down().code == 0
    assert gocker.left_processes() == []


def test_gc_touches_nothing_that_is_kept(project: Project) -> None:
    project.up({"services": {"db": kept()}})
    pid = project.pids()["db"]
    lose(project)
    assert project.gocker.command("gc").code == 0
    assert alive(pid)
    project.ok("stop")
    wait_gone(pid)


def test_the_socket_is_private(project: Project) -> None:
    project.up({"services": {"db": kept()}})
    (path,) = project.gocker.live.glob("*/projects/test/kept")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_job_cannot_be_kept(project: Project) -> None:
    result = project.up({"services": {}, "jobs": {"one": {"command": ["true"], "x-gocker": KEEP}}})
    assert result.code == 2
    assert "on_supervisor_death" in result.err
