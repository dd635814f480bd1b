"""What tests on the real kernel share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import machine
from tests.support.command import Gocker

BUSYBOX = Path("/bin/busybox")


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root file system made of busybox and a few users."""
    top = tmp_path_factory.mktemp("rootfs")
    top.chmod(0o755)  # the root of containers, also of those with another user
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "run", "root", "home"):
        (top / name).mkdir()
    (top / "bin/busybox").write_bytes(BUSYBOX.read_bytes())
    (top / "bin/busybox").chmod(0o755)
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    for applet in applets.stdout.split():
        if applet != "busybox":
            (top / "bin" / applet).symlink_to("busybox")
    (top / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nalice:x:1234:2345:Alice:/home/alice:/bin/sh\n"
    )
    (top / "etc/group").write_text("root:x:0:\nstaff:x:2345:\naudio:x:29:alice\nextra:x:77:\n")
    return top


@pytest.fixture
def gocker(rootfs: Path) -> Iterator[Gocker]:
    """Return the command; services without an image run in the busybox root file system."""
    made = Gocker(image=f"rootfs:{rootfs}")
    try:
        yield made
        made.check()
    finally:
        made.close()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fail a test that leaves a process or a mount behind, whatever it tests."""
    processes = machine.descendants(os.getpid())
    mounts = machine.mountinfo()
    yield
    assert machine.left_processes(processes) == []
    assert machine.mountinfo() - mounts == set()
