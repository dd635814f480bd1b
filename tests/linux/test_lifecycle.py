"""Projects in the background, from `gocker up -d` to `gocker down`."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Gocker, Spec
from tests.support.living import LOOP, POLITE, Project, service, wait_for, wait_gone

pytestmark = pytest.mark.root

PAIR: Spec = {"services": {"db": service(), "web": service(depends_on=["db"])}}


@pytest.fixture
def project(gocker: Gocker) -> Iterator[Project]:
    made = Project(gocker)
    yield made
    assert gocker.down("-t", "1").code == 0


def state_of(pid: int) -> str:
    """Return the state letter of a process. Source: proc_pid_stat(5), field 3."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def frozen(pid: int) -> bool:
    """Return whether the kernel has frozen the cgroup of a process, v1 or v2."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        number, names, path = line.split(":", 2)
        if names == "freezer":
            return "FROZEN" in Path(f"/sys/fs/cgroup/freezer{path}/freezer.state").read_text()
        if number == "0":
            events = Path(f"/sys/fs/cgroup{path}/cgroup.events")
            if events.exists() and "frozen 1" in events.read_text():
                return True
    return False


# -- up -d ---------------------------------------------------------------------------------------


def test_a_detached_project_outlives_the_command_in_a_session_of_its_own(
    project: Project,
) -> None:
    result = project.up(PAIR)
    assert result.code == 0, result
    pids = project.pids()
    assert set(pids) == {"db", "web"}
    supervisor = project.supervisor()
    assert os.getsid(supervisor) == supervisor
    links = {os.readlink(f"/proc/{supervisor}/fd/{fd}") for fd in (0, 1)}
    assert links == {os.devnull}
    assert os.readlink(f"/proc/{supervisor}/fd/2").endswith("/supervisor.log")
    assert project.states() == {"db": "running", "web": "running"}


def test_the_control_socket_is_private_and_not_abstract(project: Project) -> None:
    project.up(PAIR)
    (path,) = project.gocker.live.glob("*/projects/test/control")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert "@gocker" not in Path("/proc/net/unix").read_text()
    project.ok("down")
    assert not path.exists()


def test_up_tells_why_a_container_cannot_start_and_what_else_lives(project: Project) -> None:
    result = project.up({"services": {"bad": {"command": ["/no/such"]}, "web": service()}})
    assert result.code == 1
    assert "/no/such" in result.err
    assert project.states() == {"bad": "failed", "web": "running"}


def test_up_fails_if_a_dependency_fails(project: Project) -> None:
    completed = {"init": {"condition": "service_completed_successfully"}}
    spec = {"services": {"init": service("exit 3"), "web": service(depends_on=completed)}}
    result = project.up(spec)
    assert result.code == 1
    assert "init" in result.err


def test_a_job_that_fails_at_once_has_started(project: Project) -> None:
    # As docker compose; `gocker wait` has the code.
    assert project.up({"services": {"job": service("exit 3"), "web": service()}}).code == 0
    assert project.do("wait", "job").code == 3


def test_a_spec_error_is_told_by_the_command(project: Project) -> None:
    result = project.up({"services": {"web": {"comand": "x"}}})
    assert result.code == 2
    assert "did you mean" in result.err


def test_wait_returns_when_everything_is_healthy(project: Project) -> None:
    check = {"test": ["CMD", "test", "-e", "/tmp/up"], "interval": "50ms", "retries": 1000}
    script = f"trap 'exit 0' TERM; sleep 0.3; touch /tmp/up; {LOOP}"
    result = project.up({"services": {"web": service(script, healthcheck=check)}}, "--wait")
    assert result.code == 0, result
    assert project.events("container.health", "web")[-1]["status"] == "healthy"


def test_wait_fails_with_what_is_unhealthy_and_leaves_it_running(project: Project) -> None:
    check = {"test": ["CMD", "false"], "interval": "50ms", "retries": 1}
    result = project.up({"services": {"web": service(healthcheck=check)}}, "--wait")
    assert result.code == 1
    assert project.states() == {"web": "running"}


def test_wait_fails_when_a_service_fails(project: Project) -> None:
    check = {"test": ["CMD", "false"], "interval": "60s"}
    spec = {"services": {"web": service("sleep 0.2; exit 4", healthcheck=check)}}
    assert project.up(spec, "--wait").code == 1


def test_wait_timeout_ends_the_command_and_not_the_project(project: Project) -> None:
    check = {"test": ["CMD", "false"], "interval": "60s"}
    spec = {"services": {"web": service(healthcheck=check)}}
    result = project.up(spec, "--wait", "--wait-timeout", "0.5")
    assert result.code == 1
    assert "not ready" in result.err
    assert project.states() == {"web": "running"}


def test_services_live_on_when_the_jobs_are_done(project: Project) -> None:
    db = {"db": {"condition": "service_started"}}
    project.up({"services": {"db": service(), "job": service("exit 0", depends_on=db)}})
    assert project.do("wait", "job").code == 0
    assert project.states() == {"db": "running", "job": "exited"}


def test_the_run_ends_when_nothing_runs_any_more(project: Project) -> None:
    project.up({"services": {"job": service("exit 0")}})
    project.do("wait", "job")
    wait_gone(project.supervisor())
    (finished,) = project.events("run.finished")
    assert finished["exit_code"] == 0


@pytest.mark.parametrize(
    "options",
    [["--abort-on-container-exit"], ["--attach", "web"], ["--exit-code-from", "web"]],
    ids=lambda options: options[0],
)
def test_options_that_contradict_the_background_are_refused(
    project: Project, options: list[str]
) -> None:
    result = project.up(PAIR, *options)
    assert result.code == 2
    assert options[0] in result.err
    assert project.gocker.runs() == []


# -- stop, start, restart, kill, pause ------------------------------------------------------------


def test_stop_ends_the_process_and_start_makes_another(project: Project) -> None:
    project.up(PAIR)
    old = project.pids()["web"]
    project.ok("stop", "web")
    wait_gone(old)
    assert project.states() == {"db": "running", "web": "exited"}
    assert project.do("start", "web").code == 0
    new = project.pids()["web"]
    assert new != old
    assert project.states()["web"] == "running"


def test_stop_of_everything_ends_the_supervisor_and_start_begins_again(project: Project) -> None:
    project.up(PAIR)
    supervisor = project.supervisor()
    project.ok("stop")
    wait_gone(supervisor)
    stopped = [record["instance"] for record in project.events("container.stopping")]
    assert stopped == ["web", "db"]
    assert project.gocker.command("start", str(project.path)).code == 0
    assert project.states() == {"db": "running", "web": "running"}


def test_restart_replaces_the_process(project: Project) -> None:
    project.up(PAIR)
    old = project.pids()
    project.ok("restart", "web")
    new = project.pids()
    assert (new["db"], new["web"] != old["web"]) == (old["db"], True)


def test_restart_takes_dependents_that_say_so_along(project: Project) -> None:
    edge = {"db": {"condition": "service_started", "restart": True}}
    project.up({"services": {"db": service(), "web": service(depends_on=edge)}})
    old = project.pids()
    project.ok("restart", "db")
    # The dependents follow; the command is over when what it names runs again.
    wait_for(lambda: set(project.pids()) == set(old))
    new = project.pids()
    assert all(new[name] != old[name] for name in old)
    project.ok("restart", "--no-deps", "db")
    assert project.pids()["web"] == new["web"]


def test_kill_ends_a_service_in_spite_of_its_restart_policy(project: Project) -> None:
    project.up({"services": {"web": service(restart="always"), "db": service()}})
    old = project.pids()["web"]
    project.ok("kill", "web")
    wait_gone(old)
    assert project.do("wait", "web").code == 137
    assert project.states()["web"] == "exited"


def test_another_signal_reaches_the_program_and_ends_nothing(project: Project) -> None:
    script = f"trap 'exit 0' TERM; trap 'echo hup' HUP; echo ready; {LOOP}"
    project.up({"services": {"web": service(script)}})
    wait_for(lambda: project.log("web").exists())
    project.ok("kill", "-s", "HUP", "web")
    wait_for(lambda: "hup" in project.log("web").read_text())
    assert project.states() == {"web": "running"}


def test_pause_freezes_the_processes_and_unpause_lets_them_go_on(project: Project) -> None:
    project.up(PAIR)
    pid = project.pids()["web"]
    project.ok("pause", "web")
    wait_for(lambda: frozen(pid))
    assert project.states() == {"db": "running", "web": "paused"}
    project.ok("unpause", "web")
    wait_for(lambda: not frozen(pid))
    project.ok("pause", "web")
    project.ok("stop", "web")
    wait_gone(pid)


def test_a_service_that_does_not_exist_is_named_with_those_that_do(project: Project) -> None:
    project.up(PAIR)
    for command in ("stop", "kill", "pause", "start", "restart", "wait"):
        result = project.do(command, "nosuch")
        assert result.code == 2, (command, result)
        assert "nosuch" in result.err
        assert "web" in result.err


@pytest.mark.parametrize("command", ["stop", "kill", "pause", "unpause", "down", "ls", "events"])
def test_nothing_to_do_is_no_failure(project: Project, command: str) -> None:
    argv = ("ls",) if command == "ls" else (command, "-p", "test")
    assert project.gocker.command(*argv).code == 0
    project.up({"services": {"job": service("exit 0")}})
    project.do("wait", "job")
    wait_gone(project.supervisor())
    assert project.gocker.command(*argv).code == 0


# -- wait, ls, events, attach, rm, create, logs ----------------------------------------------------


def test_wait_gives_the_first_code_that_is_not_0_in_argument_order(project: Project) -> None:
    project.up({"services": {"a": service("exit 4"), "b": service("sleep 0.1; exit 6"),
                             "c": service("exit 0")}})  # fmt: skip
    assert project.do("wait", "c", "b", "a").code == 6
    result = project.do("wait", "a", "b")
    assert result.code == 4
    assert "b exited with code 6" in result.out


def test_wait_has_a_timeout(project: Project) -> None:
    project.up(PAIR)
    assert project.do("wait", "--timeout", "0.1", "web").code == 124


def test_wait_can_bring_the_project_down(project: Project) -> None:
    project.up({"services": {"job": service("sleep 0.2; exit 5"), "db": service()}})
    assert project.do("wait", "--down-project", "job").code == 5
    assert project.gocker.runs() == []


def test_ls_lists_living_projects(project: Project) -> None:
    project.up(PAIR)
    (row,) = map(json.loads, project.gocker.command("ls", "--format", "jsonl").out.splitlines())
    assert (row["Name"], row["Status"]) == ("test", "running(2)")
    project.ok("stop")
    assert project.gocker.command("ls", "-q").out == ""
    assert project.gocker.command("ls", "-a", "-q").out == "test\n"


def test_events_are_the_records_of_the_log_and_end_with_the_run(project: Project) -> None:
    project.up({"services": {"job": service("sleep 0.3")}})
    lines = project.do("events", "--json").out.splitlines()
    records = [json.loads(line) for line in lines]
    assert records == project.records()
    assert records[-1]["event"] == "run.finished"
    late = project.do("events", "--json", "--since", records[-1]["time"]).out.splitlines()
    assert [json.loads(line)["event"] for line in late] == ["run.finished"]


def test_attach_shows_both_streams_apart_and_ends_with_the_containers_code(
    project: Project,
) -> None:
    script = "trap 'echo out; echo err >&2; exit 9' TERM; echo ready; " + LOOP
    project.up({"services": {"web": service(script), "db": service()}})
    wait_for(lambda: project.log("web").exists())
    attached = project.gocker.popen("attach", "-p", "test", "web")
    wait_for(lambda: attached_to(project))
    attached.send_signal(signal.SIGTERM)
    out, err = attached.communicate(timeout=20)
    assert (attached.returncode, out, err) == (9, b"out\n", b"err\n")


def attached_to(project: Project) -> bool:
    """Return whether the supervisor holds a pipe of the command's: copies of its streams."""
    directory = f"/proc/{project.supervisor()}/fd"
    links = []
    for fd in os.listdir(directory):
        try:
            links.append(os.readlink(f"{directory}/{fd}"))
        except FileNotFoundError:
            continue
    ours = {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{fd}")}  # fmt: skip
    return bool({link for link in links if link.startswith("pipe:")} & ours)


def test_attach_without_sig_proxy_leaves_the_container_alone(project: Project) -> None:
    project.up(PAIR)
    attached = project.gocker.popen("attach", "-p", "test", "--sig-proxy=false", "web")
    wait_for(lambda: attached_to(project))
    attached.send_signal(signal.SIGINT)
    attached.communicate(timeout=20)
    assert project.states()["web"] == "running"


def test_rm_removes_the_logs_of_what_is_over_only(project: Project) -> None:
    project.up({"services": {"job": service("echo x"), "web": service()}})
    project.do("wait", "job")
    wait_for(lambda: project.log("web").exists())
    assert project.do("rm", "job").code == 2  # nobody can be asked
    project.ok("rm", "-f")
    assert not project.log("job").exists()
    assert project.log("web").exists()
    project.ok("rm", "-f", "-s", "web")
    assert not project.log("web").exists()


def test_create_starts_nothing_and_makes_volumes(project: Project) -> None:
    spec = {"services": {"web": service(volumes=["v:/v"])}, "volumes": {"v": {}}}
    path = project.gocker.write(spec)
    assert project.gocker.command("create", str(path)).code == 0
    assert (project.gocker.data / "volumes/test_v").is_dir()
    assert project.events("container.started") == []
    assert project.gocker.command("start", str(path)).code == 0
    assert project.states() == {"web": "running"}
    project.gocker.down("--volumes")


def test_logs_follow_a_living_run_to_its_end(project: Project) -> None:
    project.up({"services": {"job": service("echo one; sleep 0.3; echo two")}})
    result = project.do("logs", "--follow", "--no-log-prefix", "job")
    assert result.out == "one\ntwo\n"


# -- another up -----------------------------------------------------------------------------------


def test_the_same_up_changes_nothing(project: Project) -> None:
    project.up(PAIR)
    before = project.pids()
    result = project.up(None)
    assert result.code == 0
    assert "nothing differs" in result.err
    assert project.pids() == before


def test_up_makes_anew_only_what_differs(project: Project) -> None:
    project.up(PAIR)
    before = project.pids()
    changed = {
        "services": {**PAIR["services"], "web": service(depends_on=["db"], environment={"A": "1"})}
    }
    assert project.up(changed).code == 0
    after = project.pids()
    assert after["db"] == before["db"]
    assert after["web"] != before["web"]
    assert b"A=1" in Path(f"/proc/{after['web']}/environ").read_bytes()


def test_up_sees_a_config_that_changed(project: Project) -> None:
    def spec(content: str) -> Spec:
        web = service(configs=["c"])
        return {"services": {"web": web, "db": service()}, "configs": {"c": {"content": content}}}

    project.up(spec("one"))
    before = project.pids()
    project.up(spec("two"))
    after = project.pids()
    assert after["db"] == before["db"]
    assert Path(f"/proc/{after['web']}/root/c").read_text() == "two"


def test_up_makes_anew_what_has_another_address_in_the_spec(project: Project) -> None:
    def spec(**changed: object) -> Spec:
        own = {"ipv4_address": "10.77.0.9", "mac_address": "02:00:00:00:00:09", **changed}
        return {
            "services": {
                "db": service(networks={"n": own}), "web": service(networks={"n": {}}),
            },
            "networks": {"n": {"ipam": {"config": [{"subnet": "10.77.0.0/24"}]}}},
        }  # fmt: skip

    def link() -> str:
        show = "cat /sys/class/net/eth0/address; cat /proc/net/fib_trie"
        return project.ok("exec", "-T", "db", "sh", "-c", show).out

    assert project.up(spec()).code == 0
    before = project.pids()
    for change, shown in (
        ({"ipv4_address": "10.77.0.19"}, "10.77.0.19\n"),
        ({"mac_address": "02:00:00:00:00:19"}, "02:00:00:00:00:19\n"),
        ({"aliases": ["other"]}, "10.77.0.9\n"),
    ):
        assert project.up(spec(**change)).code == 0
        after = project.pids()
        assert after["db"] != before["db"]
        assert after["web"] == before["web"]
        assert shown in link()
        before = after


def test_no_recreate_and_force_recreate(project: Project) -> None:
    project.up(PAIR)
    before = project.pids()
    changed = {
        "services": {**PAIR["services"], "web": service(depends_on=["db"], environment={"A": "1"})}
    }
    project.up(changed, "--no-recreate")
    assert project.pids() == before
    project.up(None, "--force-recreate", "--no-deps", "web")
    after = project.pids()
    assert (after["db"], after["web"] != before["web"]) == (before["db"], True)
    assert project.up(None, "--no-recreate", "--force-recreate").code == 2


def test_always_recreate_deps(project: Project) -> None:
    project.up(PAIR)
    before = project.pids()
    project.up(None, "--always-recreate-deps", "web")
    after = project.pids()
    assert (after["web"], after["db"] != before["db"]) == (before["web"], True)


def test_orphans_are_named_and_removed_when_asked_to(project: Project) -> None:
    project.up(PAIR)
    only = {"services": {"db": service()}}
    assert "web" in project.up(only).err
    assert project.states()["web"] == "running"
    project.up(None, "--remove-orphans")
    assert project.states()["web"] == "exited"


def test_scale_up_and_down(project: Project) -> None:
    project.up(PAIR, "--scale", "web=3")
    before = project.pids()
    assert set(before) == {"db", "web-1", "web-2", "web-3"}
    project.up(None, "--scale", "web=2")
    assert project.pids() == {name: before[name] for name in ("db", "web-1", "web-2")}
    assert project.gocker.command("scale", "-f", str(project.path), "web=4").code == 0
    assert len(project.pids()) == 5
    assert project.up(None, "--scale", "nosuch=2").code == 2


def test_a_second_up_in_the_foreground_stays_with_the_services(project: Project) -> None:
    project.up({"services": {"web": service("trap 'echo bye; exit 0' TERM; echo ready; " + LOOP)}})
    second = project.gocker.popen("up", str(project.path))
    assert second.stderr is not None
    assert b"nothing differs" in second.stderr.readline()
    second.send_signal(signal.SIGINT)
    out, _ = second.communicate(timeout=20)
    assert second.returncode == 130
    assert out == b"web | bye\n"
    wait_gone(project.supervisor())


def test_down_while_up_waits_for_a_health_that_never_comes(project: Project) -> None:
    check = {"test": ["CMD", "false"], "interval": "60s"}
    path = project.gocker.write({"services": {"web": service(healthcheck=check)}})
    waiting = project.gocker.popen("up", str(path), "--wait")
    wait_for(lambda: project.gocker.last_run() and project.gocker.command(
        "ps", "-p", "test", "-q").out)  # fmt: skip
    assert project.do("down").code == 0
    waiting.communicate(timeout=20)
    assert waiting.returncode != 0


def test_a_foreground_run_is_asked_over_its_socket_too(gocker: Gocker) -> None:
    running = gocker.start({"services": {"web": service(POLITE), "job": service(LOOP)}},
                           "--parallel", "2")  # fmt: skip
    running.wait_for("container.started", "web")
    assert gocker.command("stop", "-p", "test", "web").code == 0
    assert gocker.command("down", "-p", "test", "-t", "0").code == 0
    assert running.finish().code == 143


# -- the supervisor is killed ---------------------------------------------------------------------


def test_a_lost_supervisor_takes_its_containers_along_and_the_next_command_says_so(
    project: Project,
) -> None:
    project.up(PAIR)
    pids, supervisor = project.pids(), project.supervisor()
    os.kill(supervisor, signal.SIGKILL)
    for pid in (supervisor, *pids.values()):
        wait_gone(pid)
    wait_for(lambda: project.gocker.left_processes() == [])
    rows = [json.loads(line) for line in project.do("ps", "-a", "--format", "jsonl").out.split()]
    assert {row["Name"]: (row["State"], row["ExitCode"]) for row in rows} == {
        "db": ("lost", 137), "web": ("lost", 137),
    }  # fmt: skip
    assert project.do("wait", "web").code == 137
    project.do("ps")
    reasons = [(r["instance"], r["reason"]) for r in project.events("container.lost")]
    assert sorted(reasons) == [("db", "supervisor-lost"), ("web", "supervisor-lost")]
    assert len(project.events("run.finished")) == 1
    numbers = [record["seq"] for record in project.records()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert project.up(None).code == 0
    assert project.states() == {"db": "running", "web": "running"}


def test_a_stored_pid_that_is_another_process_now_is_never_signalled(project: Project) -> None:
    project.up(PAIR)
    supervisor = project.supervisor()
    pids = project.pids()
    foreign = subprocess.Popen(["sleep", "1000"])
    try:
        os.kill(supervisor, signal.SIGKILL)
        for pid in (supervisor, *pids.values()):
            wait_gone(pid)
        run = project.gocker.last_run()
        assert run is not None
        for path in (run / "run.json", run / "run.jsonl"):
            text = path.read_text().replace(str(supervisor), str(foreign.pid))
            for pid in pids.values():
                text = text.replace(str(pid), str(foreign.pid))
            path.write_text(text)
        for command in (["kill"], ["stop"], ["down", "-t", "1"]):
            project.do(*command)
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()
