from __future__ import annotations

import json
import os
import random
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gocker.errors import HostError
from gocker.state.containers import containers
from gocker.state.directory import write_atomic
from gocker.state.roots import Roots
from gocker.state.run import Run, project_lock, prune, runs

ROOT = Path(__file__).parents[3]


@contextmanager
def python(program: str, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a program that prints a line when it is ready and lives until its stdin ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


HOLD = """
import sys
from gocker.state.roots import Roots
from gocker.state.run import Run
roots = Roots(sys.argv[1], sys.argv[2])
run = Run.create(roots, "demo", ("demo.yaml",))
print(run.id, flush=True)
sys.stdin.read()
"""

HOLD_WITH_LAUNCHER = (
    HOLD.replace("import sys", "import os, subprocess, sys")
    .replace(
        "print(run.id",
        "child = subprocess.Popen(['sleep', '100'], pass_fds=[run.lock_fd], stdin=0, stdout=2)\n"
        "print(run.id, child.pid",
    )
)  # fmt: skip


def roots_of(roots: Roots) -> tuple[str, str]:
    return roots.data, os.path.dirname(roots.live)


@contextmanager
def held(roots: Roots, program: str = HOLD) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    with python(program, *roots_of(roots)) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().split()


def finished(roots: Roots, project: str = "demo") -> Run:
    run = Run.create(roots, project, ("demo.yaml",))
    run.close()
    return run


def test_a_run_is_found_again_with_its_facts(roots: Roots) -> None:
    run = Run.create(roots, "demo", ("a.yaml", "b.yaml"), "/gocker")
    found = Run.load(roots, run.id)
    assert (found.project, found.files) == ("demo", ("a.yaml", "b.yaml"))
    assert (found.holder, found.cgroup_parent) == (run.holder, "/gocker")
    assert found.command == tuple(sys.argv)
    assert found.damaged is None
    run.close()


def test_everything_of_a_run_is_private(roots: Roots) -> None:
    run = finished(roots)
    os.close(run.open_log("web"))
    for folder, _, files in os.walk(run.path):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        for name in files:
            assert stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) == 0o600


def test_a_log_is_private_whatever_the_umask(roots: Roots) -> None:
    run = finished(roots)
    old = os.umask(0o777)
    try:
        os.close(run.open_log("web"))
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(run.log_path("web")).st_mode) == 0o600


def test_a_run_is_alive_until_it_is_closed(roots: Roots) -> None:
    run = Run.create(roots, "demo", ())
    assert Run.load(roots, run.id).state == "running"
    run.close()
    assert Run.load(roots, run.id).state == "finished"


def test_a_killed_holder_frees_its_run(roots: Roots) -> None:
    with held(roots) as (process, (run_id,)):
        run = Run.load(roots, run_id)
        assert run.alive()
        process.kill()
        process.wait()
        assert not run.alive()


def test_a_run_lives_as_long_as_the_launcher_that_inherited_the_lock(roots: Roots) -> None:
    with held(roots, HOLD_WITH_LAUNCHER) as (process, (run_id, launcher)):
        run = Run.load(roots, run_id)
        process.kill()
        process.wait()
        assert run.alive()
        assert not run.wait(0.05)
        os.kill(int(launcher), signal.SIGKILL)
        assert run.wait(10)


def test_stop_signals_the_holder_and_wait_sees_its_end(roots: Roots) -> None:
    with held(roots) as (process, (run_id,)):
        run = Run.load(roots, run_id)
        assert run.stop(signal.SIGTERM) == "signalled"
        assert run.wait(10)
        assert process.wait() == -signal.SIGTERM


def test_stop_of_a_finished_run_is_nothing(roots: Roots) -> None:
    assert Run.load(roots, finished(roots).id).stop(signal.SIGTERM) == "gone"


def test_stop_does_not_signal_a_foreign_process_with_the_stored_pid(roots: Roots) -> None:
    stranger = subprocess.Popen(["sleep", "100"])
    run = Run.create(roots, "demo", ())
    facts = json.loads(Path(run.path, "run.json").read_text())
    facts["holder"]["pid"] = stranger.pid
    Path(run.path, "run.json").write_text(json.dumps(facts))
    assert Run.load(roots, run.id).stop(signal.SIGKILL) == "gone"
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()
    run.close()


def test_runs_are_listed_by_project_oldest_first(roots: Roots) -> None:
    ids = [finished(roots).id for _ in range(3)]
    other = finished(roots, "other")
    assert {run.id for run in runs(roots, "demo")} == set(ids)
    assert {run.id for run in runs(roots)} == {*ids, other.id}
    assert [run.id for run in runs(roots)] == sorted(run.id for run in runs(roots))


def test_a_run_that_is_alive_is_not_removed(roots: Roots) -> None:
    run = Run.create(roots, "demo", ())
    with pytest.raises(HostError, match="still running"):
        Run.load(roots, run.id).remove()
    run.close()


def test_a_removed_run_is_gone_and_removing_again_is_fine(roots: Roots) -> None:
    run = finished(roots)
    os.close(run.open_log("web"))
    run.remove()
    run.remove()
    assert runs(roots) == []
    assert not Path(run.path).exists()


def test_prune_keeps_the_last_runs_of_the_project_and_all_others(roots: Roots) -> None:
    alive = Run.create(roots, "demo", ())
    old = [finished(roots) for _ in range(4)]
    other = finished(roots, "other")
    expected = {run.id for run in sorted(old, key=lambda run: run.id)[2:]}
    prune(roots, "demo", keep=2)
    assert {run.id for run in runs(roots)} == expected | {alive.id, other.id}
    alive.close()


def test_prune_removes_what_a_killed_creation_left(roots: Roots) -> None:
    run = finished(roots)
    left = Path(run.path).with_name(f".new-{run.id}")
    (left / "logs").mkdir(parents=True)
    prune(roots, "demo")
    assert not left.exists()


def test_an_unknown_run_is_an_error(roots: Roots) -> None:
    with pytest.raises(HostError, match="no run"):
        Run.load(roots, "../../etc")


GARBAGE = [
    b"", b"\0" * 4096, b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000,
    b'{"project": 1}', b'{"created": 1e999}', b'{"holder": {"pid": -1}}', b"9" * 10_000,
]  # fmt: skip


@pytest.mark.parametrize("content", GARBAGE, ids=lambda content: repr(content[:12]))
def test_a_run_with_garbage_in_run_json_is_damaged_and_removable(
    roots: Roots, content: bytes
) -> None:
    run = finished(roots)
    Path(run.path, "run.json").write_bytes(content)
    (found,) = runs(roots)
    assert found.state == "damaged"
    assert found.stop(signal.SIGKILL) == "gone"
    found.remove()
    assert runs(roots) == []


@pytest.mark.parametrize("kind", ["missing", "link", "fifo", "directory"])
def test_a_run_json_that_is_no_file_is_damage(roots: Roots, kind: str, tmp_path: Path) -> None:
    run = finished(roots)
    path = Path(run.path, "run.json")
    copy = tmp_path / "copy"
    path.rename(copy)
    if kind == "link":
        path.symlink_to(copy)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    assert Run.load(roots, run.id).state == "damaged"


def test_a_file_in_the_place_of_a_run_is_damaged_and_removable(roots: Roots) -> None:
    run = finished(roots)
    run.remove()
    Path(run.path).write_text("")
    (found,) = runs(roots)
    assert found.state == "damaged"
    found.remove()
    assert runs(roots) == []


def test_single_byte_flips_never_raise(roots: Roots) -> None:
    run = finished(roots)
    path = Path(run.path, "run.json")
    good = path.read_bytes()
    chance = random.Random(7)  # noqa: S311  # a repeatable test, not a secret
    for _ in range(300):
        content = bytearray(good)
        content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content)
        assert Run.load(roots, run.id).state in ("finished", "damaged")
        assert containers(roots) == []


def test_a_link_in_the_place_of_a_log_is_not_followed(roots: Roots, tmp_path: Path) -> None:
    run = finished(roots)
    victim = tmp_path / "victim"
    victim.write_text("kept")
    Path(run.log_path("web")).symlink_to(victim)
    with pytest.raises(HostError, match="cannot open"):
        run.open_log("web")
    assert victim.read_text() == "kept"


def test_a_project_is_held_by_one_and_the_second_hears_by_whom(roots: Roots) -> None:
    program = """
import sys
from gocker.state.roots import Roots
from gocker.state.run import project_lock
with project_lock(Roots(sys.argv[1], sys.argv[2]), "demo"):
    print("held", flush=True)
    sys.stdin.read()
"""
    with python(program, *roots_of(roots)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with (
            pytest.raises(HostError, match=rf"in use by pid {process.pid} \(-c "),
            project_lock(roots, "demo", 0.05),
        ):
            pass
        with project_lock(roots, "other"):
            pass
        process.kill()
        process.wait()
        with project_lock(roots, "demo"):
            pass


def test_a_waiting_second_gets_the_project_when_the_first_is_done(roots: Roots) -> None:
    program = """
import sys
from gocker.state.roots import Roots
from gocker.state.run import project_lock
roots = Roots(sys.argv[1], sys.argv[2])
print("waiting", flush=True)
with project_lock(roots, "demo", 30):
    print("held", flush=True)
"""
    with project_lock(roots, "demo") as lock, python(program, *roots_of(roots)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        lock.close()
        assert process.stdout.readline() == "held\n"


def test_a_failed_atomic_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(HostError, match="cannot write 'taken'"):
        write_atomic(fd, "taken", b"x")
    os.close(fd)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_run_is_not_called_dead_for_lack_of_descriptors(roots: Roots) -> None:
    run = Run.create(roots, "demo", ())
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    try:
        for spare in range(4):
            resource.setrlimit(resource.RLIMIT_NOFILE, (free + spare, limits[1]))
            try:
                assert run.alive()
            except HostError:
                continue
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        run.close()


def test_no_descriptor_is_left(roots: Roots) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    run = finished(roots)
    os.close(run.open_log("web"))
    run.alive()
    runs(roots)
    containers(roots)
    prune(roots, "demo", keep=0)
    with project_lock(roots, "demo"):
        pass
    assert sorted(os.listdir("/proc/self/fd")) == before
