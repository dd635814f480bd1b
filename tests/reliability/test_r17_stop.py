"""R13, R14, R17: what does not want to end ends; what multiplies stays among itself.

10,000 processes in one container: ``python -m tests.long r17``.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support import machine
from tests.support.command import Gocker, Running, Spec

pytestmark = pytest.mark.root
LOOP = "trap '' TERM INT; while :; do sleep 1000 & wait; done"
FORKS = "trap '' TERM; while :; do sh -c 'sleep 0.01' & done 2>/dev/null"


def run(gocker: Gocker, command: str, **service: object) -> Running:
    """Start a service that has to be stopped."""
    keys = {"stop_grace_period": "300ms", "pids_limit": 100, **service}
    spec: Spec = {"services": {"job": {"command": ["sh", "-c", f"echo up; {command}"], **keys}}}
    running = gocker.start(spec)
    running.wait_for_output("up")
    return running


def container(running: Running) -> int:
    """Return the PID of the only container's first process."""
    (pid,) = machine.children(running.launcher())
    return pid


def stopped(gocker: Gocker, running: Running) -> float:
    """Stop a run; return the seconds it took. Nothing may be left."""
    began = time.monotonic()
    running.send(signal.SIGTERM)
    result = running.finish()
    took_s = time.monotonic() - began
    assert result.code == 143
    assert gocker.left_processes() == []
    assert gocker.left_things() == []
    return took_s


def test_one_that_ignores_sigterm_is_killed(gocker: Gocker) -> None:
    stopped(gocker, run(gocker, LOOP))


def test_one_that_is_stopped_is_killed(gocker: Gocker) -> None:
    running = run(gocker, "trap 'exit 0' TERM; sleep 1000")
    os.kill(container(running), signal.SIGSTOP)
    stopped(gocker, running)


@pytest.mark.skipif(not Path("/sys/fs/cgroup/freezer").exists(), reason="the freezer of cgroup v1")
def test_one_that_is_frozen_is_killed(gocker: Gocker) -> None:
    running = run(gocker, "sleep 1000", mem_limit="32m")
    cgroup = next(
        line.rpartition(":")[2]
        for line in Path(f"/proc/{container(running)}/cgroup").read_text().splitlines()
        if ":freezer:" in line
    )
    Path(f"/sys/fs/cgroup/freezer{cgroup}/freezer.state").write_text("FROZEN")
    stopped(gocker, running)


def test_one_that_forks_without_end_is_killed(gocker: Gocker) -> None:
    stopped(gocker, run(gocker, FORKS))


def many_processes(gocker: Gocker, count: int) -> float:
    """Return the seconds it takes to end a container with so many processes."""
    command = f"i=0; while [ $i -lt {count} ]; do sleep 1000 & i=$((i+1)); done; echo all; wait"
    running = run(gocker, f"trap '' TERM; {command}", pids_limit=count + 10)
    running.wait_for_output("all")
    return stopped(gocker, running)


def test_one_with_many_processes_is_killed(gocker: Gocker) -> None:
    many_processes(gocker, 300)


def fork_bomb(gocker: Gocker, others: int) -> list[float]:
    """Return the start times of other containers beside a fork bomb."""
    bomb = "f() { f | f & }; trap '' TERM; f; sleep 1000"
    services: dict[str, dict[str, object]] = {
        f"j{number}": {"command": ["sh", "-c", "sleep 0.05; exit 0"]} for number in range(others)
    }
    services["bomb"] = {
        "command": ["sh", "-c", bomb], "pids_limit": 64, "stop_grace_period": "200ms",
        "x-gocker": {"role": "support"},
    }  # fmt: skip
    result = gocker.up({"services": services}, "--parallel", "4")
    ended = {r["instance"]: r["verdict"] for r in result.events("job.finished")}
    # Of support it is a warning that the limit stopped it.
    assert {ended[f"j{number}"] for number in range(others)} == {"ok"}
    assert gocker.left_processes() == []
    assert gocker.left_things() == []
    return [r["start_s"] for r in result.events("container.started") if r["instance"] != "bomb"]


def test_a_fork_bomb_stays_among_itself(gocker: Gocker) -> None:
    assert len(fork_bomb(gocker, others=6)) == 6


def zombies(gocker: Gocker, orphans: int) -> int:
    """Return how many zombies a container with `init` has after its orphans have ended."""
    command = (
        f"i=0; while [ $i -lt {orphans} ]; do (sleep 0 &) ; i=$((i+1)); done; sleep 1; echo all;"
        " while :; do read x </dev/zero; done"
    )
    running = run(gocker, command, init=True, pids_limit=orphans + 100)
    running.wait_for_output("all")
    found = 0
    for pid in machine.descendants(container(running)):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        found += state == "Z"
    stopped(gocker, running)
    return found


def test_orphans_are_reaped(gocker: Gocker) -> None:
    assert zombies(gocker, 100) == 0
