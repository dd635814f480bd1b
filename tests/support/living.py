"""Projects that live in the background: started, asked, watched, and brought down."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support import machine
from tests.support.command import Gocker, Record, Result, Spec

LOOP = "while :; do sleep 0.05; done"
# Ends at its stop signal; says when it can.
POLITE = f"trap 'exit 0' TERM; echo ready; {LOOP}"


def service(script: str = POLITE, **keys: Any) -> Spec:
    return {"command": ["sh", "-c", script]} | {
        key.replace("x_gocker", "x-gocker"): value for key, value in keys.items()
    }


class Project:
    """The project of a test's specs."""

    def __init__(self, gocker: Gocker) -> None:
        self.gocker = gocker
        self.path = gocker.root / "spec.yaml"

    def up(self, spec: Spec | None, *options: str) -> Result:
        """Run ``gocker up -d``; without a spec with the one that is there."""
        if spec is not None:
            self.path = self.gocker.write(spec)
        return self.gocker.command("up", str(self.path), "-d", *options)

    def do(self, *argv: str) -> Result:
        """Run a command about the project."""
        return self.gocker.command(argv[0], "-p", "test", *argv[1:])

    def ok(self, *argv: str) -> Result:
        result = self.do(*argv)
        assert result.code == 0, result
        return result

    def records(self) -> list[Record]:
        """Return the records of the last run."""
        run = self.gocker.last_run()
        assert run is not None
        lines = (run / "run.jsonl").read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def events(self, name: str, instance: str | None = None) -> list[Record]:
        return [
            record for record in self.records()
            if record["event"] == name and instance in (None, record.get("instance"))
        ]  # fmt: skip

    def pids(self) -> dict[str, int]:
        """Return the first process of each instance's latest container, if it is there."""
        found = {r["instance"]: r["process.pid"] for r in self.events("container.started")}
        over = {r["container.id"] for r in self.events("container.exited")}
        latest = {r["instance"]: r["container.id"] for r in self.events("container.started")}
        return {name: pid for name, pid in found.items() if latest[name] not in over}

    def supervisor(self) -> int:
        return int(self.events("run.detached")[-1]["process.pid"])

    def states(self) -> dict[str, str]:
        """Return what ``gocker ps -a`` says of each instance's latest container."""
        rows = self.ok("ps", "-a", "--format", "jsonl").out.splitlines()
        return {row["Name"]: row["State"] for row in map(json.loads, rows)}

    def log(self, instance: str, attempt: int = 1) -> Path:
        run = self.gocker.last_run()
        assert run is not None
        name = instance if attempt == 1 else f"{instance}@{attempt}"
        return run / "logs" / f"{name}.log"


def wait_gone(pid: int) -> None:
    """Wait until a process, which need not be ours, has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(machine.PATIENCE_S * 1000), f"{pid} does not end"
    os.close(pidfd)


def wait_for(condition: Callable[[], object]) -> None:
    """Wait for something that no event tells of, as a test only."""
    deadline = time.monotonic() + machine.PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
