"""What is left on the machine after a run, however it ended."""

from __future__ import annotations

import hashlib
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import machine
from tests.support.command import Gocker, Running, Spec

pytestmark = pytest.mark.root

Killer = Callable[[Running], None]


def everything(user_data: Path) -> Spec:
    """Return a spec with all that can be left: processes that fork, refuse to stop, are probed."""
    bind = {"type": "bind", "source": str(user_data), "target": "/user"}
    return {
        "services": {
            "forks": {
                "command": ["sh", "-c", "sleep 1000 & sleep 1000 & echo up; wait"],
                "volumes": [bind, {"type": "volume", "target": "/anonymous"}],
            },
            "stubborn": {
                "command": ["sh", "-c", "trap '' TERM INT; echo x >/made; sleep 1000; sleep 1000"],
                "stop_grace_period": "200ms",
                "init": True,
            },
            "probed": {
                "command": ["sleep", "1000"],
                "volumes": [{"type": "volume", "source": "vol", "target": "/vol"}],
                "healthcheck": {
                    "test": ["CMD", "sh", "-c", "echo probing >/proc/1/fd/1; sleep 1000"],
                    "interval": "1ms", "timeout": "900s",
                },
            },
            "limited": {"command": ["sleep", "1000"], "mem_limit": "32m", "cpus": 0.5,
                        "cpuset": "0", "pids_limit": 9},
        },
        "volumes": {"vol": {}},
    }  # fmt: skip


@pytest.fixture
def user_data(gocker: Gocker) -> Path:
    """Return a directory of the user's with some content."""
    top = gocker.root / "user"
    (top / "deep/er").mkdir(parents=True)
    (top / "deep/er/file").write_text("precious")
    (top / "link").symlink_to("/etc")
    return top


def digest(top: Path) -> str:
    """Return a digest of the names, contents, modes and times below a directory."""
    state = hashlib.sha256()
    for path in sorted([top, *top.rglob("*")]):
        info = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        state.update(repr((path, info.st_mode, info.st_mtime_ns, info.st_uid, content)).encode())
    return state.hexdigest()


def start_everything(gocker: Gocker, user_data: Path) -> Running:
    """Start the containers and wait until all of them run, one with a probe inside."""
    running = gocker.start(everything(user_data), "--parallel", "4")
    running.wait_for("container.started", count=4)
    running.wait_for_output("up")
    running.wait_for_output("probing")
    return running


def front(running: Running) -> None:
    running.send(signal.SIGKILL)


def launcher(running: Running) -> None:
    os.kill(running.launcher(), signal.SIGKILL)


def both(running: Running) -> None:
    pid = running.launcher()
    running.send(signal.SIGSTOP)  # so that it cannot react to the loss of the launcher
    os.kill(pid, signal.SIGKILL)
    running.send(signal.SIGKILL)


def containers_first(running: Running) -> None:
    """The launcher is stopped, so that it cannot see the end of file, and then killed."""
    pid = running.launcher()
    os.kill(pid, signal.SIGSTOP)
    running.send(signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)


def assert_all_gone(gocker: Gocker) -> None:
    assert gocker.left_processes() == []
    assert gocker.left_things() == []


def test_the_comparison_sees_what_runs(gocker: Gocker, user_data: Path) -> None:
    """The other tests are worth something only if this one finds each kind of thing."""
    running = start_everything(gocker, user_data)
    made = gocker.watch_namespaces(running)
    things = "\n".join(gocker.left_things())
    running.send(signal.SIGTERM)
    assert running.finish().code == 143
    assert {name.partition(":")[0] for name in made} >= {"mnt", "net", "pid", "uts", "ipc"}
    assert "/gocker-test-" in things
    assert "containers/" in things
    assert "sleep" in things
    assert_all_gone(gocker)


@pytest.mark.parametrize("code", [0, 7])
def test_down_after_a_run_that_ended_leaves_no_state(gocker: Gocker, code: int) -> None:
    assert gocker.sh(f"touch /x; exit {code}").code == bool(code)
    assert_all_gone(gocker)
    assert gocker.down().code == 0
    caches = (gocker.data / "images", gocker.data / "cache")
    files = [path for path in gocker.root.rglob("*") if path.is_file()]
    left = {path.name for path in files if not path.is_relative_to(caches[0])
            and not path.is_relative_to(caches[1])}  # fmt: skip
    assert left <= {"spec.yaml", ".lock", "test.lock"}
    assert gocker.runs() == []


def test_down_stops_a_run_of_another_process(gocker: Gocker, user_data: Path) -> None:
    running = start_everything(gocker, user_data)
    gocker.watch_namespaces(running)
    assert gocker.down().code == 0
    assert running.finish().code == 143
    assert_all_gone(gocker)
    assert gocker.runs() == []


def test_the_launcher_cleans_up_after_a_killed_front(gocker: Gocker, user_data: Path) -> None:
    running = start_everything(gocker, user_data)
    gocker.watch_namespaces(running)
    front(running)
    running.finish()
    # Without a `down`: the launcher saw the end of file on its socket.
    assert_all_gone(gocker)


def test_the_front_reports_a_killed_launcher(gocker: Gocker, user_data: Path) -> None:
    running = start_everything(gocker, user_data)
    launcher(running)
    result = running.finish()
    assert result.code == 3
    assert "launcher" in result.event("run.finished")["error"]["message"]
    assert gocker.left_processes() == []
    assert gocker.down().code == 0
    assert_all_gone(gocker)


@pytest.mark.parametrize("cleaner", ["down", "up"])
@pytest.mark.parametrize("kill", [front, launcher, both, containers_first])
def test_sigkill_leaves_no_process_and_the_next_command_cleans_up(
    gocker: Gocker, user_data: Path, kill: Killer, cleaner: str
) -> None:
    running = start_everything(gocker, user_data)
    gocker.watch_namespaces(running)
    kill(running)
    running.finish()
    assert gocker.left_processes() == []
    if cleaner == "down":
        assert gocker.down().code == 0
    else:
        assert gocker.sh("true").code == 0
    assert_all_gone(gocker)


def test_down_cleans_up_what_was_started_in_another_cgroup(gocker: Gocker, user_data: Path) -> None:
    """As after a new login: systemd gives each session a cgroup of its own."""
    running = start_everything(gocker, user_data)
    both(running)
    running.finish()
    other = machine.Nest(f"{gocker.root.name}-other")
    try:
        assert gocker.down(enter=other.enter).code == 0
        assert other.content() == []
    finally:
        other.close()
    assert_all_gone(gocker)


def test_one_gocker_does_not_sweep_what_another_one_runs(
    gocker: Gocker, user_data: Path, rootfs: Path
) -> None:
    """Two data roots share the cgroups: what one does not know is not dead for it."""
    running = start_everything(gocker, user_data)
    other = Gocker(image=f"rootfs:{rootfs}")
    try:
        enter = gocker.nest.enter
        assert other.up({"services": {"job": {"command": ["true"]}}}, enter=enter).code == 0
        assert other.down(enter=enter).code == 0
        other.check()
    finally:
        other.close()
    assert len(machine.children(running.launcher())) >= 4
    running.send(signal.SIGTERM)
    result = running.finish()
    assert {r["verdict"] for r in result.events("container.exited")} == {"cancelled"}


@pytest.mark.parametrize("kill", [front, both])
def test_user_data_is_untouched_by_all_cleaning(
    gocker: Gocker, user_data: Path, kill: Killer
) -> None:
    volume = gocker.data / "volumes/test_vol"
    before = digest(user_data)
    running = start_everything(gocker, user_data)
    (volume / "result").write_text("precious")
    kept = digest(volume)
    kill(running)
    running.finish()
    assert gocker.left_processes() == []
    assert gocker.down().code == 0
    assert (digest(user_data), digest(volume)) == (before, kept)
    assert gocker.down("-v").code == 0
    assert not volume.exists()
    assert digest(user_data) == before
    assert_all_gone(gocker)


def test_a_run_that_was_swept_has_lost_containers_in_its_log(
    gocker: Gocker, user_data: Path
) -> None:
    running = start_everything(gocker, user_data)
    both(running)
    running.finish()
    listed = gocker.command("ps", "--all", "--all-projects", "--format", "json")
    assert listed.out.count('"lost"') == 4
    assert gocker.left_processes() == []
    assert gocker.down().code == 0


# -- any moment ----------------------------------------------------------------------------------

SEED = random.SystemRandom().randrange(1 << 32)
TWO_STEPS: Spec = {
    "services": {
        "first": {"command": ["sh", "-c", "echo x >/x; sleep 0.1"]},
        "second": {
            "command": ["sleep", "1000"], "stop_grace_period": "100ms",
            "depends_on": {"first": {"condition": "service_completed_successfully"}},
        },
        "beside": {"command": ["sh", "-c", "sleep 1000 & sleep 1000"], "mem_limit": "32m"},
    }
}  # fmt: skip


def moments(part: int) -> Iterator[float]:
    """Yield ten moments, seconds after the start; the first half of a second is the busy one."""
    choice = random.Random(SEED + part)  # noqa: S311  # moments are no secrets
    for _ in range(10):
        yield choice.uniform(0.0, 1.0)


@pytest.mark.parametrize("part", [0, 1])
def test_an_interrupt_at_any_moment_leaves_nothing(gocker: Gocker, part: int) -> None:
    for moment in moments(part):
        runs = gocker.runs()
        running = gocker.start(TWO_STEPS, process_group=0)
        machine.wait_ended(running.pid, moment)
        os.killpg(running.pid, signal.SIGINT)  # as the terminal does
        result = running.finish()
        # Before gocker's first line, the interpreter itself dies of the signal.
        early = gocker.runs() == runs
        assert result.code in ((130, 1, -signal.SIGINT) if early else (130,)), (
            SEED,
            moment,
            result,
        )
        assert gocker.left_processes() == [], (SEED, moment)
        assert gocker.left_things() == [], (SEED, moment)


def test_an_interrupt_while_the_run_is_made_is_in_its_log(gocker: Gocker) -> None:
    running = gocker.start(TWO_STEPS, process_group=0)
    runs = gocker.data / "runs"
    while not (runs.exists() and os.listdir(runs)):  # from its hidden name on
        assert machine.wait_ended(running.pid, 0) is False
    os.killpg(running.pid, signal.SIGINT)
    result = running.finish()
    assert result.code == 130
    assert result.event("run.finished")["reason"] == "interrupted"
    assert gocker.left_processes() == []
    assert gocker.left_things() == []


@pytest.mark.parametrize("part", [2, 3])
def test_a_sigkill_at_any_moment_is_cleaned_up_by_the_next_command(
    gocker: Gocker, part: int
) -> None:
    for number, moment in enumerate(moments(part)):
        running = gocker.start(TWO_STEPS)
        machine.wait_ended(running.pid, moment)
        children = machine.children(running.pid)
        running.send(signal.SIGSTOP)
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        running.send(signal.SIGKILL)
        running.finish()
        assert gocker.left_processes() == [], (SEED, moment)
        if number % 5 == 4:
            assert gocker.down().code == 0
            assert gocker.left_processes() == [], (SEED, moment)
            assert gocker.left_things() == [], (SEED, moment)
    assert gocker.sh("true").code == 0
