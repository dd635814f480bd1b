"""`gocker stats`: the figures are the kernel's, of containers that somebody else started."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from gocker.cgroup import mounts
from tests.support.command import Gocker

pytestmark = pytest.mark.root
FILL = "dd if=/dev/zero of=/dev/shm/x bs=1M count=20 2>/dev/null; echo on; "


def rows(gocker: Gocker, *argv: str) -> dict[str, dict[str, Any]]:
    result = gocker.command("stats", "-p", "test", "--no-stream", "--format", "jsonl", *argv)
    assert result.code == 0, result
    return {row["Name"]: row for row in map(json.loads, result.out.splitlines())}


def file_of(pid: int, controller: str, name: str) -> int:
    """Return what a file of a process's cgroup says."""
    layout = mounts.parse(
        Path("/proc/self/mountinfo").read_text(), Path(f"/proc/{pid}/cgroup").read_text()
    )
    directory = layout.v1[controller].directory
    assert directory is not None
    return int(Path(directory, name).read_text())


def test_the_figures_of_running_containers(gocker: Gocker) -> None:
    spec = {"services": {
        "idle": {"command": ["sh", "-c", FILL + "exec sleep 500"], "mem_limit": "64m",
                 "pids_limit": 9},
        "busy": {"command": ["sh", "-c", "echo on; while :; do :; done"], "cpus": 0.3},
    }}  # fmt: skip
    running = gocker.start(spec)
    pid = running.wait_for("container.started", "idle")["process.pid"]
    running.wait_for_output("idle | on")
    running.wait_for_output("busy | on")
    found = rows(gocker, "--interval", "500ms")
    idle, busy = found["idle"], found["busy"]
    assert 20 << 20 <= idle["MemoryUsage"] <= idle["MemoryPeak"] <= idle["MemoryLimit"] == 64 << 20
    assert (idle["Tasks"], idle["TasksLimit"]) == (1, 9)
    assert idle["CPUPercent"] < busy["CPUPercent"] <= 60  # of 30, in periods of 100 ms
    if mounts.read().mode != "v2":
        assert file_of(pid, "pids", "pids.current") == 1
    assert rows(gocker, "--interval", "10ms", "busy").keys() == {"busy"}
    (shown,) = json.loads(gocker.command("inspect", "-p", "test", "idle").out)
    assert (shown["State"], shown["Pid"]) == ("running", pid)
    applied = {item["limit"]: item["effective"] for item in shown["Limits"]}
    assert (applied["memory.limit"], applied["pids.limit"]) == (64 << 20, 9)
    assert gocker.command("inspect", "-p", "test", "nothing").code == 3
    assert gocker.command("pause", "-p", "test", "busy").code == 0
    # Nothing runs between the two looks.
    assert rows(gocker, "--interval", "200ms", "busy")["busy"]["CPUPercent"] == 0
    missing = gocker.command("stats", "-p", "test", "--no-stream", "nothing")
    assert (missing.code, "not running: nothing" in missing.err) == (3, True)
    table = gocker.command("stats", "-p", "test", "--no-stream", "--interval", "10ms").out
    assert " / 64 MiB" in table
    running.send(signal.SIGTERM)
    running.finish()
