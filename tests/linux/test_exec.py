"""`gocker exec`: who, where and how confined a program in a running container is.

Ids in the names are those of the security catalogue.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import machine
from tests.support.command import Gocker, Result, Running

pytestmark = pytest.mark.root

PROBE = (
    "grep -E '^(Umask|Uid|Gid|Groups|Sig(Blk|Ign|Cgt)|Cap|NoNewPrivs|Seccomp|Cpus_allowed_list)' "
    "/proc/self/status; for n in /proc/self/ns/*; do echo $n $(readlink $n); done; "
    "cat /proc/self/cgroup /proc/self/oom_score_adj /proc/self/limits /proc/self/mountinfo; "
    "pwd; env | sort; ls /proc/self/fd | wc -l"
)
Exec = Callable[..., Result]


@pytest.fixture
def web(gocker: Gocker) -> Iterator[Callable[..., Running]]:
    """Return what starts a service called ``web`` that waits; it is stopped at the end."""
    started: list[Running] = []

    def start(script: str = "", **service: Any) -> Running:
        spec = {"command": ["sh", "-c", f"{script} exec sleep 1000"], **service}
        running = gocker.start({"services": {"web": spec}})
        running.wait_for("container.started")
        started.append(running)
        return running

    yield start
    for running in started:
        running.send(signal.SIGKILL)
        running.finish()
    gocker.down()


def run(gocker: Gocker, *words: str, **how: Any) -> Result:
    return gocker.command("exec", "-p", "test", *words, **how)


def sh(gocker: Gocker, script: str, *options: str) -> Result:
    return run(gocker, *options, "web", "sh", "-c", script)


CONFINED: list[dict[str, Any]] = [
    {},
    {"user": "alice", "cap_add": ["NET_BIND_SERVICE"], "group_add": ["extra"]},
    {"user": "1234:77", "mem_limit": "64m", "cpus": 0.5, "cpuset": "0"},
    {"security_opt": ["no-new-privileges:false"], "cap_drop": ["ALL"], "cap_add": ["CHOWN"]},
    {"security_opt": ["seccomp:unconfined"], "oom_score_adj": 700, "working_dir": "/tmp"},
    {"ulimits": {"nofile": 100, "fsize": 1 << 20}, "read_only": True, "environment": {"A": "b"}},
    {"network_mode": "host"},
    {"userns_mode": "auto", "user": "alice"},
]


@pytest.mark.parametrize("service", CONFINED, ids=lambda it: ",".join(it) or "default")
def test_g3_a_program_is_confined_as_the_first_one(
    gocker: Gocker, web: Callable[..., Running], service: dict[str, Any]
) -> None:
    running = web(f"{PROBE}; echo done;", **service)
    running.wait_for_output("done")
    found = sh(gocker, PROBE)
    assert found.code == 0, found
    directory = gocker.last_run()
    assert directory is not None
    first = (directory / "logs/web.log").read_text().removesuffix("done\n")
    assert found.out == first
    assert "Seccomp" in found.out
    assert "/proc/self/ns/cgroup" in found.out


def test_exit_codes_are_the_programs_own(gocker: Gocker, web: Callable[..., Running]) -> None:
    web()
    codes = [sh(gocker, f"exit {code}").code for code in (0, 1, 7, 255)]
    codes += [sh(gocker, f"kill -{number} $$").code for number in (9, 15, 11, 34)]
    codes.append(run(gocker, "web", "nothing-of-this-name").code)
    codes.append(run(gocker, "web", "/etc").code)
    codes.append(run(gocker, "web", "/etc/passwd").code)
    codes.append(run(gocker, "other", "sh").code)
    codes.append(run(gocker, "web").code)
    codes.append(run(gocker, "--privileged", "web", "sh").code)
    assert codes == [0, 1, 7, 255, 137, 143, 139, 162, 127, 126, 126, 125, 2, 2]


def test_standard_input_and_output_are_pipes_without_limit(
    gocker: Gocker, web: Callable[..., Running]
) -> None:
    web()
    data = os.urandom(1 << 20) * 4
    done = subprocess.run(
        [*_argv("web", "cat")], input=data, capture_output=True, env=gocker.environ,
        preexec_fn=gocker.nest.enter, timeout=machine.PATIENCE_S,
    )  # fmt: skip
    assert (done.returncode, done.stdout == data, done.stderr) == (0, True, b"")


def test_a_reader_that_goes_away_ends_the_program_in_silence(
    gocker: Gocker, web: Callable[..., Running]
) -> None:
    web()
    process = gocker.popen("exec", "-p", "test", "web", "yes")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(4) == b"y\ny\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(machine.PATIENCE_S) == 128 + signal.SIGPIPE


def test_options_change_user_directory_and_environment(
    gocker: Gocker, web: Callable[..., Running]
) -> None:
    web(environment={"KEPT": "1", "CHANGED": "1"})
    script = "id; pwd; echo $KEPT $CHANGED $MINE $CALLERS $HOME; grep Cap /proc/self/status"
    found = run(
        gocker, "-u", "alice", "-w", "/tmp", "-e", "CHANGED=2", "-e", "MINE=3", "-e", "CALLERS",
        "web", "sh", "-c", script, environ={"CALLERS": "4"},
    )  # fmt: skip
    assert found.code == 0, found
    lines = found.out.splitlines()
    assert lines[:3] == [
        "uid=1234(alice) gid=2345(staff) groups=29(audio)", "/tmp", "1 2 3 4 /home/alice",
    ]  # fmt: skip
    # A8: no capability comes with another user, and none can be inherited.
    caps = dict(line.split(":\t") for line in lines[3:])
    assert caps == {
        "CapInh": "0" * 16, "CapPrm": "0" * 16, "CapEff": "0" * 16, "CapAmb": "0" * 16,
        "CapBnd": "00000000000005fb",
    }  # fmt: skip


def test_a8_root_in_the_container_of_an_ordinary_user_has_the_services_capabilities(
    gocker: Gocker, web: Callable[..., Running]
) -> None:
    web(user="alice")
    found = sh(gocker, "id -u; grep -E 'Cap(Eff|Inh|Amb)' /proc/self/status", "-u", "root")
    assert found.out.split() == [
        "0", "CapInh:", "0" * 16, "CapEff:", "00000000000005fb", "CapAmb:", "0" * 16,
    ]  # fmt: skip


def test_a_missing_directory_is_not_made(gocker: Gocker, web: Callable[..., Running]) -> None:
    web()
    found = run(gocker, "-w", "/nowhere", "web", "pwd")
    assert (found.code, "'/nowhere'" in found.err) == (126, True)
    assert sh(gocker, "test -e /nowhere").code == 1


def test_detached_it_outlives_the_command(gocker: Gocker, web: Callable[..., Running]) -> None:
    web()
    fifo = "mkfifo /tmp/f; "
    assert sh(gocker, f"{fifo} read go < /tmp/f; echo $go > /tmp/out", "-d").code == 0
    script = "while ! test -p /tmp/f; do :; done; echo went > /tmp/f; "
    script += "while ! test -s /tmp/out; do :; done; cat /tmp/out"
    assert sh(gocker, script).out == "went\n"
    assert run(gocker, "-d", "web", "nothing-of-this-name").code == 127


def test_it_ends_with_its_client(gocker: Gocker, web: Callable[..., Running]) -> None:
    web()
    process = gocker.popen(
        "exec", "-p", "test", "web", "sh", "-c", "sleep 500 & echo on; setsid sleep 501 & wait"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"on\n"
    process.kill()
    process.communicate()
    script = "while ps | grep -q 'sleep 50[0]\\|sleep 50[1]'; do :; done; ps | grep -c sleep"
    assert sh(gocker, script).code == 0


def test_e3_a_pid_that_is_another_process_now_is_not_entered(
    gocker: Gocker, web: Callable[..., Running]
) -> None:
    # Before the container: in one clock tick with it, it would have the same start time.
    stranger = subprocess.Popen(["sleep", "100"])
    try:
        web()
        directory = gocker.last_run()
        assert directory is not None
        log = directory / "run.jsonl"
        text = re.sub(r'"process.pid":\d+', f'"process.pid":{stranger.pid}', log.read_text())
        log.write_text(text)
        assert sh(gocker, "true").code == 125
        # The same record, with the stranger's PID and a start time that nearly fits.
        started = int(machine.start_ticks(stranger.pid))
        text = re.sub(r'"process.start_time":\d+', f'"process.start_time":{started - 1}', text)
        log.write_text(text)
        assert sh(gocker, "true").code == 125
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_g3_a_paused_container_refuses_at_once(gocker: Gocker, web: Callable[..., Running]) -> None:
    running = web()
    started = running.wait_for("container.started")
    directory = gocker.nest.directories["freezer"]
    (state,) = Path(directory).glob(f"*/{started['container.id']}/freezer.state")
    state.write_text("FROZEN")
    try:
        found = sh(gocker, "true")
    finally:
        state.write_text("THAWED")
    assert (found.code, "is paused" in found.err) == (125, True)
    assert sh(gocker, "true").code == 0


def test_g3_without_proc_in_the_container(gocker: Gocker, web: Callable[..., Running]) -> None:
    web("umount -l /proc && echo gone;", cap_add=["SYS_ADMIN"], security_opt=["seccomp:unconfined"])
    found = sh(gocker, "test -e /proc/self || echo no proc")
    assert (found.code, found.out) == (0, "no proc\n")


def test_g5_a_probe_is_killed_at_its_timeout_with_everything_it_started(
    gocker: Gocker, web: Callable[..., Running]
) -> None:
    probe = "(setsid sleep 600 &); sleep 601 & sleep 602"
    check = {"test": ["CMD", "sh", "-c", probe], "interval": "50ms", "timeout": "400ms",
             "retries": 1}  # fmt: skip
    running = web(healthcheck=check)
    running.wait_for("container.health")
    started = running.wait_for("container.started")
    # The next probe may be under way: there is one of each sleep at most, and one of its cgroups.
    for _ in range(3):
        found = sh(gocker, "ps | grep -c 'sleep 60[0-2]'")
        assert int(found.out) <= 3
    freezer = Path(gocker.nest.directories["freezer"])
    (own,) = freezer.glob(f"*/{started['container.id']}")
    assert len(list(own.glob("exec-*"))) <= 2


def test_secrets_are_not_in_plan_json_and_masked_variables_come_from_the_program(
    gocker: Gocker, web: Callable[..., Running]
) -> None:
    (gocker.root / "secret").write_text("canary-of-the-secret")
    spec = {
        "services": {"web": {
            "command": ["sleep", "1000"], "secrets": ["s"],
            "environment": {"TOKEN": "canary-of-the-token", "OPEN": "1"},
            "x-gocker": {"mask": ["TOKEN"]},
        }},
        "secrets": {"s": {"file": str(gocker.root / "secret")}},
    }  # fmt: skip
    running = gocker.start(spec)
    running.wait_for("container.started")
    found = sh(gocker, "echo $TOKEN $OPEN; cat /run/secrets/s")
    assert found.out == "canary-of-the-token 1\ncanary-of-the-secret"
    directory = gocker.last_run()
    assert directory is not None
    text = (directory / "plan.json").read_text()
    assert "canary" not in text
    assert json.loads(text)["withheld"] == {"web": ["TOKEN"]}
    running.send(signal.SIGTERM)
    running.finish()


def _argv(*words: str) -> list[str]:
    import sys

    return [sys.executable, "-m", "gocker", "exec", "-p", "test", *words]


@pytest.mark.parametrize("traces", [False, True], ids=["", "SYS_PTRACE"])
def test_a01_what_enters_shows_nothing_of_the_host(
    gocker: Gocker, web: Callable[..., Running], traces: bool
) -> None:
    """Neither the caller's environment nor an interpreter that could be written through."""
    web(cap_add=["SYS_PTRACE"] if traces else [])
    process = gocker.popen("exec", "-p", "test", "web", "sh", "-c", "echo on; sleep 1000")
    assert process.stdout is not None
    assert process.stdout.readline() == b"on\n"
    (entering,) = machine.children(process.pid)
    assert Path(f"/proc/{entering}/environ").read_bytes().strip(b"\0") == b""
    # Who may not look at a process that is not dumpable gets no descriptor of its program.
    read_only = bool(os.statvfs(f"/proc/{entering}/exe").f_flag & os.ST_RDONLY)
    assert read_only == traces
    assert Path(f"/proc/{entering}/maps").stat().st_uid == 0
    process.kill()
    process.communicate()
