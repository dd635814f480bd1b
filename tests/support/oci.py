"""``gocker-oci`` as its callers run it, on a bundle of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gocker.cgroup import mounts
from tests.support import machine
from tests.support.bundle import make_rootfs

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-I", "-S", f"{ROOT}/gocker/runtime/oci/__main__.py"]


def config(*args: str) -> dict[str, Any]:
    """Return a configuration with the usual mounts and namespaces of its own."""
    safe = ["nosuid", "noexec", "nodev"]
    kinds = ("pid", "network", "ipc", "uts", "mount", "cgroup")
    return {
        "ociVersion": "1.2.0",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": list(args) or ["/bin/true"],
            "env": ["PATH=/bin"],
            "cwd": "/",
        },
        "root": {"path": "rootfs"},
        "hostname": "oci",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*safe, "ro"]},
        ],
        "linux": {"namespaces": [{"type": kind} for kind in kinds]},
    }  # fmt: skip


class Runtime:
    """The command with a root and a bundle in a test's directory; containers are named by us."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "state"
        self.bundle = directory / "bundle"
        self.rootfs = make_rootfs(self.bundle / "rootfs")
        self.name = f"oci-test-{os.getpid()}"
        self.config = config()

    def write(self) -> None:
        """Write the configuration as it is now."""
        (self.bundle / "config.json").write_text(json.dumps(self.config))

    def without_namespace(self, kind: str) -> None:
        """Let the container share a namespace with us."""
        linux = self.config["linux"]
        linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != kind]

    def command(
        self, *arguments: str, check: bool = True, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run the command and wait for it; its output is text.

        Not through pipes, which a container that goes on would keep open.
        """
        settings: dict[str, Any] = {"stdin": subprocess.DEVNULL, "timeout": 60} | more
        arguments = ("--root", str(self.root), *arguments)
        with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
            settings = {"stdout": stdout, "stderr": stderr} | settings
            result = subprocess.run([*COMMAND, *arguments], check=False, **settings)
            stdout.seek(0)
            stderr.seek(0)
            done = subprocess.CompletedProcess(
                list(arguments), result.returncode, stdout.read(), stderr.read()
            )
        if check:
            assert done.returncode == 0, done.stderr
        return done

    def run(self, *args: str, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a container in the foreground."""
        if args:
            self.config["process"]["args"] = list(args)
        self.write()
        return self.command("run", "--bundle", str(self.bundle), self.name, check=check, **more)

    def create(self, *args: str, options: tuple[str, ...] = (), **more: Any) -> int:
        """Create a container whose output goes to the file `output`; return its PID."""
        if args:
            self.config["process"]["args"] = list(args)
        self.write()
        with self.output.open("wb") as output:
            self.command("create", "--bundle", str(self.bundle), *options, self.name,
                         stdout=output, **more)  # fmt: skip
        pid: int = self.state()["pid"]
        return pid

    @property
    def output(self) -> Path:
        """The file that a created container writes to."""
        return self.bundle / "output"

    def start(self, **more: Any) -> subprocess.CompletedProcess[str]:
        """Start the container."""
        return self.command("start", self.name, **more)

    def state(self) -> dict[str, Any]:
        """Return the state."""
        found: dict[str, Any] = json.loads(self.command("state", self.name).stdout)
        return found

    def status(self) -> str:
        """Return the status alone."""
        status: str = self.state()["status"]
        return status

    def exists(self) -> bool:
        """Return whether there is a container of our name."""
        return self.command("state", self.name, check=False).returncode == 0

    def delete(self, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Delete the container."""
        return self.command("delete", *options, self.name, check=check)

    def wait(self, pid: int, timeout_s: float = machine.PATIENCE_S) -> None:
        """Wait for the end of a process (a zombie has ended)."""
        assert machine.wait_ended(pid, timeout_s)

    def close(self) -> None:
        """Remove what a failed test left."""
        self.command("delete", "--force", self.name, check=False)

    def leftovers(self) -> list[str]:
        """Return what is still there of any container: state and cgroups."""
        left = [str(path) for path in self.root.iterdir()] if self.root.is_dir() else []
        left += cgroups_left(self.name)
        return left


def cgroups_left(name: str) -> list[str]:
    """Return the cgroups of a container that was made below this process's own."""
    layout = mounts.read()
    hierarchies = [*layout.v1.values(), *([layout.v2] if layout.v2 else [])]
    paths = {f"{hierarchy.directory}/{name}" for hierarchy in hierarchies}
    return [path for path in paths if os.path.isdir(path)]


def is_running(pid: int) -> bool:
    """Return whether a process is there and not a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] not in ("Z", "X")


def wait_until(condition: Callable[[], bool], timeout_s: float = machine.PATIENCE_S) -> None:
    """Wait for something that the kernel gives no notice of."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)
