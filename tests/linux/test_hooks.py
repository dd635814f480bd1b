"""Programs of post_start and pre_stop, as the kernel and the log show them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Gocker
from tests.support.living import LOOP, Project, service, wait_gone

pytestmark = pytest.mark.root


@pytest.fixture
def project(gocker: Gocker) -> Iterator[Project]:
    made = Project(gocker)
    yield made
    assert gocker.down("-t", "1").code == 0
    assert gocker.left_processes() == []


@pytest.fixture
def shared(gocker: Gocker) -> Path:
    directory = gocker.root / "v"
    directory.mkdir(mode=0o777)
    directory.chmod(0o777)
    return directory


def sh(script: str, **keys: object) -> dict[str, object]:
    return {"command": ["sh", "-c", script], **keys}


def test_post_start_runs_in_order_in_the_container_before_dependents(
    project: Project, shared: Path
) -> None:
    hooks = [
        sh("echo first $A $B > /v/out; readlink /proc/1/ns/pid > /v/ns", environment={"B": "b"}),
        sh("pwd >> /v/out; echo said", working_dir="/tmp"),
    ]
    spec = {
        "services": {
            "db": service(volumes=[f"{shared}:/v"], environment={"A": "a"}, post_start=hooks),
            "job": service("cat /v/out > /v/seen; exit 0", volumes=[f"{shared}:/v"],
                           depends_on=["db"]),
        }
    }  # fmt: skip
    assert project.up(spec).code == 0
    project.ok("wait", "job")
    assert (shared / "seen").read_text() == "first a b\n/tmp\n"
    pid = project.pids()["db"]
    assert (shared / "ns").read_text().strip() == str(Path(f"/proc/{pid}/ns/pid").readlink())
    ends = project.events("container.hook", "db")
    assert [(it["hook"], it["number"], it["exit_code"]) for it in ends] == [
        ("post_start", 1, 0), ("post_start", 2, 0),
    ]  # fmt: skip
    assert ends[1]["output"] == "said\n"


def test_a_hook_has_the_containers_confinement_and_its_own_user(
    project: Project, shared: Path
) -> None:
    status = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp|Uid):' /proc/self/status"
    hooks = [sh(f"{status} > /v/root"), sh(f"{status} > /v/other", user="1234")]
    result = project.up({"services": {"db": service(volumes=[f"{shared}:/v"], post_start=hooks)}})
    assert result.code == 0, result

    def fields(text: str) -> dict[str, str]:
        return {
            line.split(":")[0]: line.split()[1]
            for line in text.splitlines()
            if len(line.split()) > 1
        }

    own = fields(Path(f"/proc/{project.pids()['db']}/status").read_text())
    root, other = fields((shared / "root").read_text()), fields((shared / "other").read_text())
    for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp"):
        assert root[name] == own[name]
    assert other["Uid"] == "1234"
    assert int(other["CapEff"], 16) == 0
    assert (other["CapBnd"], other["Seccomp"]) == (own["CapBnd"], own["Seccomp"])


def test_a_failing_post_start_fails_the_service_and_its_dependents(project: Project) -> None:
    spec = {
        "services": {
            "db": service(post_start=[sh("echo broken; exit 3"), sh("exit 0")], restart="always"),
            "web": service(depends_on=["db"]),
        }
    }
    result = project.up(spec)
    assert result.code == 1
    assert "broken" in result.err
    (ended,) = project.events("container.hook", "db")
    assert ended["exit_code"] == 3
    assert project.events("job.finished", "db")[-1]["verdict"] == "start_failed"
    assert project.events("container.started", "web") == []


def test_up_comes_back_after_the_last_program_of_post_start(project: Project, shared: Path) -> None:
    db = service(volumes=[f"{shared}:/v"], post_start=[sh("sleep 0.3; touch /v/done")])
    assert project.up({"services": {"db": db}}).code == 0
    assert (shared / "done").exists()


def test_pre_stop_runs_before_the_signal(project: Project, shared: Path) -> None:
    script = f"trap 'echo signal >> /v/out; exit 0' TERM; touch /v/up; {LOOP}"
    hooks = [sh("echo hook >> /v/out"), sh("exit 5"), sh("echo last >> /v/out")]
    up = [sh("until [ -e /v/up ]; do :; done")]
    db = service(script, volumes=[f"{shared}:/v"], pre_stop=hooks, post_start=up)
    spec = {"services": {"db": db}}
    project.up(spec)
    project.ok("stop", "db")
    assert (shared / "out").read_text() == "hook\nlast\nsignal\n"
    ends = [it for it in project.events("container.hook", "db") if it["hook"] == "pre_stop"]
    assert [it["exit_code"] for it in ends] == [0, 5, 0]


def test_a_pre_stop_that_hangs_is_killed_after_the_grace_period(project: Project) -> None:
    project.up({"services": {"db": service(pre_stop=[sh("sleep 1000")])}})
    pid = project.pids()["db"]
    project.ok("stop", "-t", "0.2", "db")
    wait_gone(pid)
    (ended,) = project.events("container.exited", "db")
    assert ended["process.exit.signal"] == "SIGKILL"


def test_no_pre_stop_for_what_ends_by_itself(project: Project) -> None:
    spec = {"services": {"db": service("exit 0", pre_stop=[sh("exit 0")]), "web": service()}}
    project.up(spec)
    project.ok("wait", "db")
    assert project.events("container.hook", "db") == []


def test_privileged_is_refused(project: Project) -> None:
    spec = {"services": {"db": service(post_start=[sh("exit 0", privileged=True)])}}
    result = project.up(spec)
    assert result.code == 2
    assert "post_start[0].privileged" in result.err
