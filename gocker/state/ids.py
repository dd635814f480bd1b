"""Which ranges of user ids are in use: one byte of a file is one range, locked by its user.

The lock belongs to the open file (F_OFD_SETLK, fcntl(2)): passed to the launcher, it lasts until
the launcher is gone, too.
"""

from __future__ import annotations

import fcntl
import os
import struct

from gocker.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.state.roots import Roots

_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def claim(roots: Roots, wanted: int, count: int) -> tuple[int, int]:
    """Return a number below `count` that nobody has, `wanted` if it can be, and what holds it.

    Raises:
        HostError: all are in use.
    """
    fd = os.open("ids", _OPEN, 0o600, dir_fd=roots.live_fd)
    for step in range(count):
        number = (wanted + step) % count
        # struct flock: l_type, l_whence, l_start, l_len, l_pid
        lock = struct.pack("hh4xqqi4x", fcntl.F_WRLCK, os.SEEK_SET, number, 1, 0)
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, lock)
        except OSError:
            continue
        return number, fd
    os.close(fd)
    raise HostError(
        f"all {count} ranges of user ids are in use", hint="end other runs, or userns_mode: host"
    )
