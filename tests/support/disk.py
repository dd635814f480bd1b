"""A disk of a test's own, that can lose its power: ext4 on a loop device."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import time
from pathlib import Path

_EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32), fs/ext4/ext4.h
_NOLOGFLUSH = 2


class Disk:
    """An ext4 file system of `megabytes`, mounted on `mountpoint`."""

    def __init__(self, image: Path, mountpoint: Path, megabytes: int = 64) -> None:
        self.image = image
        self.mountpoint = mountpoint
        with open(image, "wb") as file:
            file.truncate(megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        mountpoint.mkdir(exist_ok=True)
        self.mount()

    def mount(self) -> None:
        """Mount it; what its journal holds is replayed."""
        subprocess.run(["mount", "-o", "loop", self.image, self.mountpoint], check=True)
        self.mountpoint.chmod(0o700)

    def umount(self) -> None:
        """Take it away; returns when the kernel has let go of it.

        A dead launcher's mount namespace, with its copy of the mount, ends a moment later.
        """
        subprocess.run(["umount", self.mountpoint], check=True)
        deadline = time.monotonic() + 30
        while subprocess.run(["losetup", "-j", self.image], capture_output=True).stdout:
            assert time.monotonic() < deadline, "somebody still has the disk"
            time.sleep(0.01)

    def cut_power(self) -> None:
        """Lose everything that is not on the disk, at once: ext4 writes nothing any more."""
        fd = os.open(self.mountpoint, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NOLOGFLUSH))
        finally:
            os.close(fd)
