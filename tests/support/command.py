"""gocker as a user runs it: the command in a process of its own, with roots of its own."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gocker.linux import mount, process
from tests.support import machine, netns

ROOT = Path(__file__).parents[2]
Spec = dict[str, Any]
Record = dict[str, Any]


class Result:
    """A run that has ended: exit code, output, records, summary and logs."""

    def __init__(self, code: int, out: bytes, err: bytes, run: Path | None) -> None:
        self.code = code
        self.out = out.decode()
        self.err = err.decode()
        self.run = run
        self.run_id = run.name if run is not None else ""
        log = run / "run.jsonl" if run is not None else None
        # A gocker that is killed at once has made its run's directory, and no log yet.
        lines = log.read_text().splitlines() if log is not None and log.exists() else []
        self.records: list[Record] = [json.loads(line) for line in lines]

    @property
    def summary(self) -> dict[str, Any]:
        """The document of ``--format json``: the last line of standard output."""
        document: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return document

    def events(self, name: str, instance: str | None = None) -> list[Record]:
        return [
            record
            for record in self.records
            if record["event"] == name and instance in (None, record.get("instance"))
        ]

    def event(self, name: str, instance: str | None = None) -> Record:
        found = self.events(name, instance)
        assert len(found) == 1, (name, instance, found, self.err)
        return found[0]

    def verdict(self, instance: str = "job") -> str:
        verdict: str = self.event("job.finished", instance)["verdict"]
        return verdict

    def limits(self, instance: str = "job") -> dict[str, Any]:
        """Return what the kernel showed after each write, by the limit's name."""
        return {e["limit"]: e["effective"] for e in self.events("limit.applied", instance)}

    def log(self, instance: str = "job", attempt: int = 1) -> str:
        assert self.run is not None, self.err
        name = f"{instance}.log" if attempt == 1 else f"{instance}@{attempt}.log"
        path = self.run / "logs" / name
        # It is made with the first byte.
        return path.read_text() if path.exists() else ""

    def __repr__(self) -> str:
        return f"exit code {self.code}\n{self.out}\n{self.err}"


class Running:
    """A command under way; its events are read from standard error as they come."""

    def __init__(self, gocker: Gocker, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.pid = process.pid
        self._gocker = gocker
        self._seen: list[Record] = []
        self._buffers = {1: b"", 2: b""}
        self._parsed = 0
        self._selector = selectors.DefaultSelector()
        for number, stream in ((1, process.stdout), (2, process.stderr)):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ, number)

    def wait_for(self, event: str, instance: str | None = None, count: int = 1) -> Record:
        """Wait until an event was reported `count` times; return the last one."""

        def found() -> list[Record]:
            return [
                record for record in self._seen
                if record["event"] == event and instance in (None, record.get("instance"))
            ]  # fmt: skip

        self._pump(lambda: len(found()) >= count)
        assert len(found()) >= count, (event, instance, self._buffers)
        return found()[count - 1]

    def wait_for_output(self, text: str) -> None:
        """Wait until containers have written `text`."""
        self._pump(lambda: text.encode() in self._buffers[1])
        assert text.encode() in self._buffers[1], self._buffers

    def errors(self) -> bytes:
        """Return what it has written to standard error up to now."""
        return self._buffers[2]

    def launcher(self) -> int:
        """Return the launcher's PID."""
        (pid,) = machine.children(self.pid)
        return pid

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for the end; return the exit code, and leave its files alone."""
        self._pump(lambda: False)
        code = self.process.wait(machine.PATIENCE_S)
        self._close()
        return code

    def finish(self) -> Result:
        """Wait for the end and return everything."""
        code = self.end()
        self._gocker.note_runs()
        return Result(code, self._buffers[1], self._buffers[2], self._gocker.last_run())

    def _close(self) -> None:
        self._selector.close()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def _pump(self, enough: Callable[[], bool]) -> None:
        deadline = time.monotonic() + machine.PATIENCE_S
        while not enough() and self._selector.get_map():
            ready = self._selector.select(deadline - time.monotonic())
            if not ready:
                self.process.kill()
                self._close()
                raise AssertionError(f"nothing happens any more: {self._buffers}")
            for key, _ in ready:
                chunk = os.read(key.fd, 1 << 16)
                if not chunk:
                    self._selector.unregister(key.fileobj)
                self._buffers[key.data] += chunk
            self._parse()

    def _parse(self) -> None:
        *lines, _ = self._buffers[2].split(b"\n")
        for line in lines[self._parsed :]:
            if line.startswith(b"{"):
                self._seen.append(json.loads(line))
        self._parsed = len(lines)


class Gocker:
    """Runs the command. `check` tells what it left on the machine; `close` removes the rest.

    Args:
        parent: where to make the directory that holds everything: roots, specs, user data.
        image: of services that name none.
    """

    def __init__(self, parent: str = "/var/tmp", image: str | None = None) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="gocker-test-", dir=parent))
        self.data = self.root / "data"
        self.live = self.root / "live"
        self.image = image
        # The network namespace to run in; None: a new one with nothing but `lo` each time.
        self.netns: int | None = None
        # Files of the host that it sees others in place of: target -> source.
        self.binds: dict[str, str] = {}
        self.run_ids: set[str] = set()
        self.nest = machine.Nest(self.root.name)
        self.environ = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": str(ROOT),
            "GOCKER_DATA_ROOT": str(self.data),
            "GOCKER_RUN_ROOT": str(self.live),
        }
        machine.count_subreaper(+1)
        self._before_processes = machine.descendants(os.getpid())
        self._before_mounts = machine.mountinfo()
        self._before_fds = machine.open_fds()
        self._namespaces: set[str] = set()
        self._watched = 0.0

    def write(self, spec: Spec | str, name: str = "spec.yaml") -> Path:
        path = self.root / name
        if isinstance(spec, dict):
            for service in spec["services"].values():
                if self.image is not None:
                    service.setdefault("image", self.image)
            # A dollar sign is the tests' own: nothing is to be interpolated.
            spec = json.dumps({"name": "test"} | spec, indent=1).replace("$", "$$")
        path.write_text(spec)
        return path

    def start(
        self, spec: Spec | str, *options: str, wrapper: Sequence[str] = (), **how: Any
    ) -> Running:
        """Start ``gocker up``; its events come as JSON on standard error."""
        path = self.write(spec)
        argv = ("up", str(path), "--log-format", "json", "--format", "json", *options)
        return Running(self, self.popen(*argv, wrapper=wrapper, **how))

    def up(self, spec: Spec | str, *options: str, **how: Any) -> Result:
        return self.start(spec, *options, **how).finish()

    def job(self, *command: str, options: Sequence[str] = (), **service: Any) -> Result:
        """Run one job called ``job``."""
        keys = {key.replace("x_gocker", "x-gocker"): value for key, value in service.items()}
        return self.up({"services": {"job": {"command": list(command), **keys}}}, *options)

    def sh(self, script: str, **service: Any) -> Result:
        """Run one job called ``job`` that is a shell script."""
        return self.job("sh", "-c", script, **service)

    def _enter(self) -> None:
        """Be in this test's cgroups and network, in the child that is about to be gocker."""
        if self.binds:
            process.unshare(process.CLONE_NEWNS)
            mount.mount(None, "/", None, mount.MS_PRIVATE | mount.MS_REC)
        for target, source in self.binds.items():
            mount.mount(source, target, None, mount.MS_BIND)
        self.nest.enter()
        if self.netns is None:
            netns.enter_new()
        else:
            netns.enter(self.netns)

    def popen(
        self, *argv: str, wrapper: Sequence[str] = (), environ: dict[str, str] | None = None,
        enter: Callable[[], None] | None = None, **how: Any,
    ) -> subprocess.Popen[bytes]:  # fmt: skip
        """Start any gocker command in the test's own cgroups."""
        return subprocess.Popen(
            [*wrapper, sys.executable, "-m", "gocker", *argv],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=self.environ | (environ or {}), cwd=self.root,
            preexec_fn=enter or self._enter, **how,  # noqa: PLW1509  # writes and signal calls only
        )  # fmt: skip

    def command(self, *argv: str, **how: Any) -> Result:
        """Run any gocker command to its end."""
        process = self.popen(*argv, **how)
        out, err = process.communicate(timeout=machine.PATIENCE_S)
        self.note_runs()
        return Result(process.returncode, out, err, None)

    def down(self, *options: str, **how: Any) -> Result:
        """Run ``gocker down`` on the project of the last spec."""
        self.note_runs()
        return self.command("down", "-p", "test", *options, **how)

    def note_runs(self) -> None:
        self.run_ids.update(run.name for run in self.runs())

    def runs(self) -> list[Path]:
        directory = self.data / "runs"
        names = os.listdir(directory) if directory.exists() else []
        return sorted(directory / name for name in names if not name.startswith("."))

    def last_run(self) -> Path | None:
        runs = self.runs()
        return runs[-1] if runs else None

    def watch_namespaces(self, running: Running) -> set[str]:
        """Note the namespaces that a run has made up to now, and return them."""
        made: set[str] = set()
        for pid in machine.descendants(running.pid):
            made |= machine.namespaces_of(pid)
        self._namespaces |= made - machine.namespaces_of(os.getpid())
        self._watched = machine.now_ticks()
        return self._namespaces

    # What must be gone.

    def left_processes(self) -> list[str]:
        """Return processes that gocker left; waits for those that are about to end."""
        return machine.left_processes(self._before_processes)

    def left_things(self) -> list[str]:
        """Return everything else that is on the machine because of gocker, but for its state."""
        self.note_runs()
        left = self.nest.content() + machine.cgroups_of(self.run_ids)
        left += sorted(machine.mountinfo() - self._before_mounts)
        left += machine.members(self._namespaces, self._watched, self.root.name)
        left += self.files("data/containers") + self.files("live/*/scratch")
        left += [str(path) for path in self.root.glob("data/*/.new-*")]
        fds = machine.open_fds()
        left += [f"fd {fd}: {fds[fd]}" for fd in fds.keys() - self._before_fds.keys()]
        return left

    def files(self, pattern: str) -> list[str]:
        return [str(path) for top in self.root.glob(pattern) for path in top.iterdir()]

    def check(self) -> None:
        """Fail if anything is left on the machine that a finished gocker must not leave."""
        assert self.left_processes() == []
        assert self.left_things() == []

    def close(self) -> None:
        """Remove everything, also after a failure."""
        machine.kill_left(self._before_processes)
        machine.count_subreaper(-1)
        self.nest.close()
        mounted = [line for line in machine.mountinfo() if str(self.root) in line]
        assert mounted == [], "not removing files below a mount"
        shutil.rmtree(self.root)
