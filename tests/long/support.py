"""What the long tests share; they run outside pytest, one command each."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUSYBOX = Path("/bin/busybox")


@contextmanager
def busybox_rootfs() -> Iterator[Path]:
    """Give a root file system made of busybox, as tests/linux/conftest.py has."""
    top = Path(tempfile.mkdtemp(prefix="gocker-long-", dir="/var/tmp"))
    try:
        make_rootfs(top)
        yield top
    finally:
        shutil.rmtree(top)


def make_rootfs(top: Path) -> None:
    """Fill a directory with busybox, its applets and a few users."""
    top.chmod(0o755)  # the root of containers, also of those with another user
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "run", "root", "home"):
        (top / name).mkdir()
    (top / "bin/busybox").write_bytes(BUSYBOX.read_bytes())
    (top / "bin/busybox").chmod(0o755)
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    for applet in applets.stdout.split():
        if applet != "busybox":
            (top / "bin" / applet).symlink_to("busybox")
    (top / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (top / "etc/group").write_text("root:x:0:\n")
