"""Pseudo-terminals: pts(4), ioctl_tty(2), fstatfs(2)."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct

from gocker.linux.libc import INT, PTR, failed, prototype

# include/uapi/asm-generic/ioctls.h
_TIOCSCTTY = 0x540E
_TIOCSWINSZ = 0x5414
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441

DEVPTS_SUPER_MAGIC = 0x1CD1  # include/uapi/linux/magic.h
PTMX = os.makedev(5, 2)  # Documentation/admin-guide/devices.txt
_PTS_MAJORS = range(136, 144)

# struct statfs has 120 bytes on 64-bit machines; f_type is its first word.
_statfs = ctypes.create_string_buffer(256)
_fstatfs = prototype("fstatfs", INT, PTR)


def filesystem_magic(fd: int) -> int:
    """Return f_type of fstatfs(2)."""
    if _fstatfs(fd, ctypes.addressof(_statfs)) < 0:
        raise failed("fstatfs")
    return int(struct.unpack_from("q", _statfs)[0])


def is_slave(fd: int) -> bool:
    """Return whether a descriptor is a terminal of a devpts file system."""
    return (
        os.major(os.fstat(fd).st_rdev) in _PTS_MAJORS and filesystem_magic(fd) == DEVPTS_SUPER_MAGIC
    )


def is_master(fd: int) -> bool:
    """Return whether a descriptor was opened through a devpts file system's own ``ptmx``."""
    return os.fstat(fd).st_rdev == PTMX and filesystem_magic(fd) == DEVPTS_SUPER_MAGIC


def open_slave(master: int) -> int:
    """Unlock a master's terminal and open it, by no name (TIOCGPTPEER, Linux 4.13)."""
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    slave: int = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    return slave


def set_size(fd: int, rows: int, columns: int) -> None:
    """TIOCSWINSZ; the foreground process group gets SIGWINCH if it is another size."""
    fcntl.ioctl(fd, _TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def set_controlling(fd: int) -> None:
    """TIOCSCTTY: make it the controlling terminal; the caller leads a session that has none."""
    fcntl.ioctl(fd, _TIOCSCTTY, 0)
