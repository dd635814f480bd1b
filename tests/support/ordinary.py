"""gocker as an ordinary user runs it, one that the test makes up: /etc stays as it is."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from gocker.cgroup import mounts, v2
from gocker.linux import mount, process
from tests.support import netns
from tests.support.command import Gocker

UID = 2345
FIRST, COUNT = 300_000, 65536
NAME = "ordinary"


def why_not() -> str | None:
    """Return why an ordinary user cannot run the tests' interpreter; None if he can."""
    found = subprocess.run(
        [sys.executable, "-c", "import gocker, pydantic"],
        user=UID, group=UID, extra_groups=[], env={"PYTHONPATH": os.getcwd()}, cwd="/",
        capture_output=True,
    )  # fmt: skip
    if found.returncode:
        return f"an ordinary user cannot use {sys.executable} and this checkout"
    return None


class Ordinary(Gocker):
    """The command, run by `NAME`.

    Args:
        rootfs: copied, and owned by the user.
        subordinate: whether he has subordinate ids.
        delegated: whether he may use the test's cgroups.
        tun: whether he may open /dev/net/tun.
    """

    def __init__(
        self, rootfs: Path, *, subordinate: bool = True, delegated: bool = False, tun: bool = True
    ) -> None:
        super().__init__()
        self.environ |= {"HOME": str(self.root), "USER": NAME}
        self.root.chmod(0o755)
        copy = self.root / "rootfs"
        shutil.copytree(rootfs, copy, symlinks=True)
        self.image = f"rootfs:{copy}"
        etc = self.root / "etc"
        etc.mkdir()
        for name, line in (
            ("passwd", f"{NAME}:x:{UID}:{UID}::{self.root}:/bin/sh\n"),
            ("group", f"{NAME}:x:{UID}:\n"),
        ):  # fmt: skip
            (etc / name).write_text(Path("/etc", name).read_text() + line)
        for name in ("subuid", "subgid"):
            (etc / name).write_text(f"{NAME}:{FIRST}:{COUNT}\n" if subordinate else "")
        self.etc = {f"/etc/{name}": str(etc / name) for name in os.listdir(etc)}
        self.missing = [path for path in self.etc if not os.path.exists(path)]
        self.tun = self.root / "tun" if tun else None
        if self.tun is not None:
            os.mknod(self.tun, stat.S_IFCHR | 0o666, os.makedev(10, 200))
            self.tun.chmod(0o666)  # whatever the umask took
        self.session: Path | None = None
        if delegated:
            self._delegate()
        for path in (self.root, *self.root.rglob("*")):
            os.chown(path, UID, UID, follow_symlinks=False)

    def _delegate(self) -> None:
        """Give the user the test's cgroups; on v2 one with a leaf for his session, as systemd does.

        Source: cgroup-v2.rst, "Model of Delegation".
        """
        for directory in set(self.nest.directories.values()):
            for path in (directory, f"{directory}/tasks", f"{directory}/cgroup.procs"):
                os.chown(path, UID, UID)
        if self.nest.directories:
            return
        layout = mounts.read()
        assert layout.v2 is not None
        top = Path(layout.v2.mount, self.root.name)
        self.session = top / "session"
        for directory in (top, self.session):
            directory.mkdir()
            for name in ("", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"):
                os.chown(directory / name, UID, UID)

    def _join_session(self) -> None:
        """Be where the user's shell is: gocker moves all of a delegated cgroup to a leaf."""
        assert self.session is not None
        leaf = self.session / v2.SUPERVISOR
        place = leaf if leaf.exists() else self.session
        (place / "cgroup.procs").write_text("0")

    def close(self) -> None:
        super().close()
        if self.session is not None:
            for path, _, _ in os.walk(self.session.parent, topdown=False):
                os.rmdir(path)

    def _enter(self) -> None:
        """Be the user, in the test's own cgroups and network."""
        self.nest.enter()
        if self.session is not None:
            self._join_session()
        if self.netns is None:
            netns.enter_new()
        else:
            netns.enter(self.netns)
        process.unshare(process.CLONE_NEWNS)
        mount.mount(None, "/", None, mount.MS_PRIVATE | mount.MS_REC)
        self.provide()
        os.setgroups([])
        os.setresgid(UID, UID, UID)
        os.setresuid(UID, UID, UID)

    def provide(self) -> None:
        """Mount what the host has for the user, in a mount namespace of the caller's own."""
        for target, source in self.etc.items():
            if target in self.missing:
                raise AssertionError(f"{target} is missing: install the package uidmap")
            mount.mount(source, target, None, mount.MS_BIND)
        if self.tun is not None and os.path.exists("/dev/net/tun"):
            mount.mount(str(self.tun), "/dev/net/tun", None, mount.MS_BIND)
        for target, source in self.binds.items():
            mount.mount(source, target, None, mount.MS_BIND)

    def write(self, spec: Any, name: str = "spec.yaml") -> Path:
        path = super().write(spec, name)
        path.chmod(0o644)
        return path
