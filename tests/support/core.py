"""The runtime core alone: OCI configurations given to a launcher, without a spec."""

from __future__ import annotations

import copy
import os
import select
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

from gocker.plan import posture
from gocker.scheduler import spawn
from gocker.scheduler.launcher import Launcher
from tests.support import machine

Config = dict[str, Any]
ALL_NAMESPACES = ("mount", "uts", "ipc", "pid", "network", "cgroup")


def config(rootfs: Path, *args: str, **process: Any) -> Config:
    """Return what ``runc spec`` prints, more or less: a root with all that this host has."""
    caps = list(posture.DEFAULT_CAPS)
    sets = dict.fromkeys(("bounding", "effective", "permitted"), caps)
    return {
        "ociVersion": "1.2.0",
        "root": {"path": str(rootfs)},
        "process": {
            "args": list(args), "cwd": "/", "env": [f"PATH={os.defpath}:/bin:/sbin"],
            "capabilities": copy.deepcopy(sets), "noNewPrivileges": True, **process,
        },
        "mounts": posture.default_mounts(),
        "linux": {
            "namespaces": [{"type": kind} for kind in ALL_NAMESPACES],
            "resources": {"devices": list(posture.DEVICE_RULES)},
        },
    }  # fmt: skip


class Outcome:
    """What became of a container: events, exit code, all of its output."""

    def __init__(self, events: list[dict[str, Any]], output: str) -> None:
        self.events = events
        self.output = output

    def _find(self, name: str) -> dict[str, Any]:
        found = [event for event in self.events if event["event"] == name]
        assert found, self
        return found[0]

    @property
    def started(self) -> dict[str, Any]:
        return self._find("started")

    @property
    def code(self) -> int:
        """128 + n for a signal."""
        exited = self._find("exited")
        code: int | None = exited["code"]
        return 128 + exited["signal"] if code is None else code

    @property
    def error(self) -> str:
        """The message of the failure to start."""
        error: dict[str, Any] = self._find("failed")["error"]
        parts = [error["message"]]
        while error.get("cause"):
            error = error["cause"]
            parts.append(error["message"])
        return " <- ".join(parts)

    @property
    def lines(self) -> list[str]:
        return self.output.splitlines()

    def __repr__(self) -> str:
        return f"{self.events}\n{self.output}"


class Running:
    """A container that was asked for. `finish` waits for its end."""

    def __init__(self, core: Core, name: str, read_fd: int) -> None:
        self._core = core
        self.name = name
        self._read_fd = read_fd

    def started(self) -> int:
        """Wait for its start and return its pid."""
        event = self._core.wait_for(self.name, "started", "failed")
        assert event["event"] == "started", event
        pid: int = event["pid"]
        return pid

    def kill(self) -> None:
        self._core.launcher.send({"op": "kill", "id": self.name})

    def read_line(self) -> str:
        line = b""
        while not line.endswith(b"\n"):
            assert select.select([self._read_fd], [], [], machine.PATIENCE_S)[0], line
            byte = os.read(self._read_fd, 1)
            if not byte:
                break
            line += byte
        return line.decode().rstrip("\n")

    def finish(self) -> Outcome:
        self._core.wait_for(self.name, "exited", "failed")
        output = b""
        while chunk := os.read(self._read_fd, 1 << 16):
            output += chunk
        os.close(self._read_fd)
        return Outcome(self._core.events_of(self.name), output.decode(errors="replace"))


class Core:
    """A launcher in cgroups and directories of a test's own."""

    def __init__(self, *, vfork: bool = True) -> None:
        self.top = Path(tempfile.mkdtemp(prefix="gocker-core-", dir="/var/tmp"))
        (self.top / "scratch").mkdir()
        (self.top / "layers").mkdir()
        self._events: list[dict[str, Any]] = []
        self.nest = machine.Nest(self.top.name)
        pid, sock = spawn.spawn()
        self.nest.add(pid)
        self.launcher = Launcher(pid, sock)
        self.ready = self.launcher.call(
            {"op": "init", "scratch": str(self.top / "scratch"), "prefix": "test",
             "layers": str(self.top / "layers"), "cgroup": f"gocker-{uuid.uuid4().hex[:8]}",
             "vfork": vfork}
        )  # fmt: skip

    def start(self, config: Config, *, stdin: int | None = None, **message: Any) -> Running:
        """Ask for a container; its output and errors go into one pipe."""
        name = f"c{uuid.uuid4().hex[:12]}"
        config = copy.deepcopy(config)
        config["linux"].setdefault("cgroupsPath", name)
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        null = os.open(os.devnull, os.O_RDONLY) if stdin is None else os.dup(stdin)
        request = {"op": "start", "id": name, "config": config, **message}
        self.launcher.send(request, (null, write_fd, write_fd), close=(null, write_fd))
        return Running(self, name, read_fd)

    def run(self, config: Config, **how: Any) -> Outcome:
        return self.start(config, **how).finish()

    def events_of(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self._events if event.get("id") == name]

    def wait_for(self, name: str, *kinds: str) -> dict[str, Any]:
        deadline = time.monotonic() + machine.PATIENCE_S
        while True:
            for event in self.events_of(name):
                if event["event"] in kinds:
                    return event
            left = deadline - time.monotonic()
            ready = select.select([self.launcher.fileno()], [], [], max(0.0, left))[0]
            assert ready, (name, kinds, self._events)
            event_or_none = self.launcher.receive()
            assert event_or_none is not None, "the launcher is gone"
            self._events.append(event_or_none)

    def close(self) -> None:
        """End the launcher; fail if anything is left."""
        self.launcher.close()
        left = [str(path) for name in ("scratch", "layers") for path in (self.top / name).iterdir()]
        left += self.nest.content()
        self.nest.close()
        for path in ("scratch", "layers", ""):
            (self.top / path).rmdir()
        assert left == []

    def __enter__(self) -> Core:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()
