"""The other runtimes: their packages, images and daemon, all in one directory of ours."""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.measure import run

IMAGE = "localhost/gocker-bench:latest"
# Debian package of each program.
PACKAGES = {
    "crun": "crun",
    "runc": "runc",
    "bwrap": "bubblewrap",
    "podman": "podman",
    "conmon": "conmon",
    "dockerd": "docker.io",
    "docker-compose": "docker-compose",
    "podman-compose": "podman-compose",
    "strace": "strace",
    "gcc": "gcc",
    "busybox": "busybox-static",
    "xargs": "findutils",
}
LIMITS = ("--memory", "64m", "--memory-swap", "64m", "--cpus", "1", "--pids-limit", "64")
_DAEMON_TIMEOUT_S = 60.0


def missing() -> list[str]:
    """Return the packages whose programs are not there."""
    return [package for program, package in PACKAGES.items() if not shutil.which(program)]


def install(packages: list[str]) -> None:
    """Install Debian packages; no service of theirs is needed."""
    run("apt-get", "update")
    run("apt-get", "install", "-y", "--no-install-recommends", *packages)


def start(*argv: str) -> None:
    """Run a command that leaves a container behind, which keeps our output open for as long."""
    with tempfile.TemporaryFile() as output:
        result = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        if result.returncode:
            output.seek(0)
            raise RuntimeError(f"{argv}: {output.read().decode(errors='replace')}")


def pack(rootfs: Path, archive: Path) -> None:
    """Write a root file system as a tar file, for imports."""
    with tarfile.open(archive, "w") as tar:
        tar.add(rootfs, arcname=".")


class Podman:
    """podman with storage of its own."""

    def __init__(self, top: Path) -> None:
        self.options = (
            "--root", str(top / "podman"), "--runroot", str(top / "podman-run"),
            "--cgroup-manager", "cgroupfs", "--runtime", "crun", "--events-backend", "none",
        )  # fmt: skip
        self._command = ("podman", *self.options)
        self._top = top

    def script(self) -> str:
        """Return a program that is podman with these options, for podman-compose."""
        path = self._top / "podman-here"
        path.write_text(f'#!/bin/sh\nexec {shlex.join(self._command)} "$@"\n')
        path.chmod(0o700)
        return str(path)

    def load(self, archive: Path) -> None:
        """Import the image; nothing is pulled."""
        run(*self._command, "import", str(archive), IMAGE)

    def argv(self, *command: str) -> tuple[str, ...]:
        """Return the command that runs one container."""
        options = ("--rm", "--network", "none", *_rlimits(), *LIMITS)
        return (*self._command, "run", *options, IMAGE, *command)


def _rlimits() -> list[str]:
    """Return limits below our own: podman's defaults need CAP_SYS_RESOURCE to be raised to."""
    nofile = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return ["--ulimit", f"nofile={nofile}:{nofile}", "--ulimit", "nproc=1024:1024"]


class Docker:
    """A docker daemon of ours, without networks, its state below one directory."""

    def __init__(self, top: Path) -> None:
        self._top = top / "docker"
        self.socket = f"unix://{self._top}/docker.sock"
        client = "/usr/bin/docker" if os.path.exists("/usr/bin/docker") else "docker"
        self.command = (client, "--config", str(self._top / "config"), "-H", self.socket)

    @contextmanager
    def daemon(self, *, networks: bool = False) -> Iterator[None]:
        """Run dockerd, with `networks` in the network namespace that this process is in."""
        self._top.mkdir(parents=True)
        argv = [
            "dockerd", "-H", self.socket, "--data-root", f"{self._top}/data",
            "--exec-root", f"{self._top}/exec", "--pidfile", f"{self._top}/pid",
            "--exec-opt", "native.cgroupdriver=cgroupfs",
        ]  # fmt: skip
        if not networks:
            argv += ["--iptables=false", "--ip6tables=false", "--bridge=none"]
        with open(self._top / "log", "wb") as log:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._wait(process)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + _DAEMON_TIMEOUT_S
        while subprocess.run([*self.command, "version"], capture_output=True).returncode:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"dockerd: {(self._top / 'log').read_text()[-3000:]}")
            time.sleep(0.1)

    def load(self, archive: Path) -> None:
        """Import the image; nothing is pulled."""
        run(*self.command, "import", str(archive), IMAGE)

    def argv(self, *command: str) -> tuple[str, ...]:
        """Return the command that runs one container."""
        return (*self.command, "run", "--rm", "--network", "none", *LIMITS, IMAGE, *command)
