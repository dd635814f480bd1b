"""R19, R27, R28, R30, R32: readers that stop, callers that die, parts that fail, kernel limits."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from gocker.errors import SyscallError, from_wire
from gocker.runtime import failure
from tests.reliability.test_r22_soak import rss_kib
from tests.support import machine
from tests.support.command import Gocker, Spec

pytestmark = pytest.mark.root


def up(gocker: Gocker, spec: Spec, *options: str, **how: object) -> subprocess.Popen[bytes]:
    """Start ``up`` with standard streams of the caller's choice."""
    argv = [sys.executable, "-m", "gocker", "up", str(gocker.write(spec)), *options]
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]  # any of its options
        argv, env=gocker.environ, cwd=gocker.root,
        preexec_fn=how.pop("enter", gocker.nest.enter), **how,  # noqa: PLW1509  # writes and closes
    )  # fmt: skip


ECHO: Spec = {"services": {"job": {"command": ["sh", "-c", "echo out; echo err >&2; exit 3"]}}}


def closed(*fds: int) -> Callable[[Gocker], Callable[[], None]]:
    def enter(gocker: Gocker) -> Callable[[], None]:
        def run() -> None:
            gocker.nest.enter()
            for fd in fds:
                os.close(fd)

        return run

    return enter


@pytest.mark.parametrize("fds", [(0,), (1,), (0, 1, 2)])
def test_closed_standard_streams_change_nothing_for_the_jobs(
    gocker: Gocker, fds: tuple[int, ...]
) -> None:
    process = up(gocker, ECHO, enter=closed(*fds)(gocker), stderr=subprocess.DEVNULL,
                 stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)  # fmt: skip
    assert process.wait(machine.PATIENCE_S) == 1
    (run,) = gocker.runs()
    assert sorted((run / "logs/job.log").read_text().split()) == ["err", "out"]


def test_a_reader_that_leaves_ends_no_job(gocker: Gocker) -> None:
    spec: Spec = {
        "services": {"job": {"command": ["sh", "-c", "yes | head -c 300000; echo x >/vol/end"],
                             "volumes": ["vol:/vol"]}},
        "volumes": {"vol": {}},
    }  # fmt: skip
    process = up(gocker, spec, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(1)
    process.stdout.close()
    errors = process.stderr.read().decode()
    process.stderr.close()
    process.wait()
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors
    assert (gocker.data / "volumes/test_vol/end").exists()


def test_a_reader_that_stops_makes_the_job_wait(gocker: Gocker) -> None:
    """Of a job that writes without end, gocker keeps a few MiB."""
    process = up(gocker, {"services": {"job": {"command": ["yes", "a line of 17 byte"]}}},
                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip
    log = None
    size = -1
    # The log stops growing: the pipe is full, and so is what gocker keeps.
    for _ in range(200):
        machine.wait_ended(process.pid, 0.1)
        log = next(iter(gocker.data.glob("runs/*/logs/job.log")), None)
        now = log.stat().st_size if log is not None else 0
        if now == size and now > 1 << 20:
            break
        size = now
    assert log is not None
    assert log.stat().st_size == size, "the job is not held up"
    assert rss_kib(process.pid) < 150 * 1024
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    while process.stdout.read(1 << 20):
        pass
    process.stdout.close()
    process.wait()


def test_a_line_without_end_is_kept_whole_on_disk_only(gocker: Gocker) -> None:
    process = up(gocker, {"services": {"job": {"command": ["head", "-c", "64m", "/dev/zero"]}}},
                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    assert process.wait(machine.PATIENCE_S) == 0
    (log,) = gocker.data.glob("runs/*/logs/job.log")
    assert log.stat().st_size == 64 << 20


def test_a_hangup_is_an_end_in_order(gocker: Gocker) -> None:
    running = gocker.start({"services": {"job": {"command": ["sleep", "1000"]}}})
    running.wait_for("container.started")
    running.send(signal.SIGHUP)
    result = running.finish()
    assert result.code == 129 or result.event("run.finished")["reason"] == "interrupted"
    assert gocker.left_processes() == []


def test_a_limit_of_file_sizes_costs_output_and_no_job(gocker: Gocker) -> None:
    """``ulimit -f`` of the caller: SIGXFSZ would kill, EFBIG is a log that is full."""

    def enter() -> None:
        gocker.nest.enter()
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    result = gocker.up(
        {"services": {"job": {"command": ["sh", "-c", "yes | head -c 300000; exit 4"]}}},
        enter=enter,
    )
    assert result.event("container.exited")["process.exit.code"] == 4
    warned = result.event("job.warned")
    assert "bytes of its log are lost: File too large" in warned["message"]
    # The disk is not full: freeing space would not help.
    assert warned["hint"].startswith("raise the limit of file sizes: ulimit -f; ")


@pytest.mark.parametrize(
    "fault", ["layer.mount=enospc:1", "init.mounts=eio:1", "call.execve=eio:1"]
)
def test_one_that_cannot_start_is_named_and_alone(gocker: Gocker, fault: str) -> None:
    """R28: nine of ten run; the tenth, its code and its step are told."""
    spec: Spec = {"services": {f"j{n}": {"command": ["true"]} for n in range(10)}}
    result = gocker.up(spec, environ={"GOCKER_FAILPOINTS": fault})
    verdicts = [record["verdict"] for record in result.events("job.finished")]
    assert sorted(verdicts) == ["ok"] * 9 + ["start_failed"]
    assert result.code in (1, 3)
    (failed,) = result.events("container.failed")
    assert failed["error"]["message"]
    assert gocker.left_things() == []


@pytest.mark.parametrize(
    ("step", "sysctl"),
    [("unshare", "user.max_net_namespaces"), ("mount", "fs.mount-max"),
     ("clone3", "user.max_pid_namespaces")],
)  # fmt: skip
def test_a_limit_of_the_kernel_is_named_with_its_sysctl(step: str, sysctl: str) -> None:
    """R32: what the kernel says is ENOSPC, which nobody takes for a limit on namespaces."""
    error = SyscallError(step, errno.ENOSPC)
    assert sysctl in (error.hint or "")
    assert sysctl in (from_wire(error.to_wire()).hint or "")
    wire = failure.explain(error, "namespaces")
    assert sysctl in wire["hint"]


def test_no_namespace_left_is_told(gocker: Gocker) -> None:
    """In a user namespace of the test's own, whose limits are its own."""
    argv = ("up", str(gocker.write({"services": {"job": {"command": ["true"]}}})))
    script = 'echo 0 >/proc/sys/user/max_mnt_namespaces; exec "$@"'
    process = gocker.popen(*argv, wrapper=("unshare", "-Urm", "sh", "-c", script, "sh"))
    _, errors = process.communicate(timeout=machine.PATIENCE_S)
    assert process.returncode == 3
    assert b"user.max_mnt_namespaces" in errors
    assert b"internal error" not in errors
