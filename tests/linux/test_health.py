"""Health checks on the real kernel: their options, and what a bad one leaves (security.md G5)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Gocker, Record, Spec
from tests.support.living import Project, service

pytestmark = pytest.mark.root

FAST = {"interval": "100ms", "timeout": "300ms", "retries": 1}


@pytest.fixture
def project(gocker: Gocker) -> Iterator[Project]:
    made = Project(gocker)
    yield made
    assert gocker.down("-t", "1").code == 0


def checked(test: list[str] | str, **options: Any) -> Spec:
    check = {"test": test, **FAST, **options}
    return {"services": {"web": service(healthcheck=check, pids_limit=64)}}


def last(project: Project) -> Record:
    return project.events("container.health", "web")[-1]


def processes_in(pid: int) -> set[int]:
    """Return all processes in the PID namespace of a container's first one."""
    namespace = Path(f"/proc/{pid}/ns/pid").readlink()
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "ns/pid").readlink() == namespace:
                found.add(int(path.name))
        except OSError:
            continue
    return found


def test_a_probe_that_never_ends_is_killed_at_its_timeout_with_its_children(
    project: Project,
) -> None:
    # Children in sessions of their own, so that no process group holds them all.
    script = "for i in 1 2 3; do setsid sleep 1000 & done; sleep 1000"
    # The next probe begins three seconds after this one: until then none is there.
    assert project.up(checked(["CMD-SHELL", script], interval="3s"), "--wait").code == 1
    record = last(project)
    assert (record["status"], record["exit_code"]) == ("unhealthy", None)
    pid = project.pids()["web"]
    commands = [command_of(other) for other in processes_in(pid) - {pid}]
    assert [name for name in commands if "1000" in name] == []


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def test_the_output_of_a_probe_that_floods_is_cut(project: Project) -> None:
    assert project.up(checked(["CMD", "yes"]), "--wait").code == 1
    record = last(project)
    assert record["status"] == "unhealthy"
    assert 0 < len(record["output"]) <= 4096
    assert set(record["output"]) == {"y", "\n"}


def test_a_probe_that_forks_without_end_meets_the_containers_limit_and_its_timeout(
    project: Project,
) -> None:
    bomb = "f() { f | f & f; }; f"
    spec = checked(["CMD-SHELL", bomb], timeout="1s")
    # A program that forks itself would end when it cannot.
    spec["services"]["web"]["command"] = ["sleep", "1000"]
    assert project.up(spec, "--wait").code == 1
    assert project.states() == {"web": "running"}
    project.ok("pause", "web")
    assert len(processes_in(project.pids()["web"])) <= 65
    project.ok("unpause", "web")


def test_the_exit_code_and_output_of_a_probe_are_recorded(project: Project) -> None:
    result = project.up(checked(["CMD-SHELL", "echo why; exit 7"]), "--wait")
    assert result.code == 1
    record = last(project)
    assert (record["exit_code"], record["output"]) == (7, "why\n")


@pytest.mark.parametrize("check", [{"disable": True}, {"test": ["NONE"]}], ids=["disable", "NONE"])
def test_a_check_that_is_switched_off_makes_ready_what_runs(
    project: Project, check: dict[str, Any]
) -> None:
    result = project.up({"services": {"web": service(healthcheck=check)}}, "--wait")
    assert result.code == 0
    assert project.events("container.health") == []


def test_failures_in_the_start_period_do_not_count(project: Project) -> None:
    script = "test -e /tmp/up || { touch /tmp/up; exit 1; }"
    spec = checked(["CMD-SHELL", script], start_period="30s", start_interval="50ms")
    assert project.up(spec, "--wait").code == 0
    assert [r["status"] for r in project.events("container.health")] == ["starting", "healthy"]


def test_a_probe_has_the_confinement_of_its_container(project: Project) -> None:
    script = "grep -E 'Seccomp:|NoNewPrivs|CapEff' /proc/self/status; exit 1"
    assert project.up(checked(["CMD-SHELL", script]), "--wait").code == 1
    own = Path(f"/proc/{project.pids()['web']}/status").read_text().splitlines()
    keys = ("Seccomp:", "NoNewPrivs", "CapEff")
    expected = {line for line in own if line.startswith(keys)}
    assert set(last(project)["output"].splitlines()) == expected
