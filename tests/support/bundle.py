"""Bundles for other runtimes, by ``gocker config --oci SERVICE --bundle DIRECTORY``."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
APPLETS = (
    "sh", "true", "cat", "sleep", "stat", "head", "id", "touch", "ls", "readlink", "hostname",
    "pwd", "env", "mkdir", "mknod", "cut", "sed", "od", "tr", "md5sum",
)  # fmt: skip
# crun and podman refuse a hybrid cgroup layout; without these two mounts it is a v1 layout.
# Where they are not there, it is none.
PURE_V1 = "umount /sys/fs/cgroup/unified /sys/fs/cgroup/systemd 2>/dev/null;"


class Bundle:
    """A bundle's directory, and the shell command that mounts its root file system."""

    def __init__(self, path: Path, mount: str) -> None:
        self.path = path
        self.mount = mount

    def read(self) -> dict[str, Any]:
        """Return config.json."""
        config: dict[str, Any] = json.loads((self.path / "config.json").read_text())
        return config

    def write(self, config: dict[str, Any]) -> None:
        """Write config.json."""
        (self.path / "config.json").write_text(json.dumps(config))


def make_rootfs(directory: Path) -> Path:
    """Fill a directory with busybox, its applets, and what every image has in /etc."""
    busybox = shutil.which("busybox")
    assert busybox, "this needs busybox-static"
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(busybox, directory / "bin/busybox")
    for name in APPLETS:
        (directory / "bin" / name).symlink_to("busybox")
    for name in ("hosts", "hostname", "resolv.conf"):
        (directory / "etc" / name).touch()
    (directory / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (directory / "etc/group").write_text("root:x:0:\n")
    return directory


def write_spec(path: Path, name: str, services: dict[str, Any]) -> Path:
    """Write a spec with one line for each service."""
    lines = [f"  {key}: {json.dumps(value)}\n" for key, value in services.items()]
    path.write_text(f"name: {name}\nservices:\n{''.join(lines)}")
    return path


def environ(state: Path) -> dict[str, str]:
    """Return an environment in which gocker keeps everything below one directory."""
    return {
        **os.environ,
        "GOCKER_DATA_ROOT": str(state / "data"),
        "GOCKER_RUN_ROOT": str(state / "run"),
        "PYTHONPATH": str(REPOSITORY),
    }


def command(*words: str) -> list[str]:
    """Return the argv of a gocker command."""
    return [sys.executable, "-m", "gocker", *words]


def gocker(state: Path, *words: str) -> str:
    """Run a gocker command and return what it printed; it must succeed."""
    result = subprocess.run(
        command(*words), env=environ(state),
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip
    if result.returncode:
        raise RuntimeError(f"gocker {shlex.join(words)}: {result.returncode}: {result.stderr}")
    return result.stdout


def make_bundle(spec: Path, service: str, directory: Path, state: Path) -> Bundle:
    """Return the bundle of a spec's service."""
    printed = gocker(state, "config", str(spec), "--oci", service, "--bundle", str(directory))
    return Bundle(directory, printed.strip())


def run_pure_v1(command: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a shell command in a mount namespace of its own with a pure v1 view of cgroups.

    Standard input is an empty pipe: with /dev/null, crun gives the container's to its user.
    """
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", PURE_V1 + command], env=env, input="",
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
