"""A path to copy from or to: on the host, or in a running container's root.

In a container every step of the path is resolved by the kernel inside its root (openat2,
RESOLVE_IN_ROOT), from a descriptor of that root: no link leads out, whatever is swapped meanwhile
(CVE-2018-15664), no program of the container runs, and this process never has its root.
"""

from __future__ import annotations

import os
import stat
from errno import ELOOP, ENOENT, ENOTDIR

from gocker.errors import HostError, SyscallError
from gocker.linux.path import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

_MAX_LINKS = 40  # as the kernel, path_resolution(7)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


class Place:
    """Where paths are resolved.

    Args:
        root_fd: the root; stays the caller's.
        in_container: whether links must not leave it.
        shown: the container's name, for messages; "" is the host.
    """

    __slots__ = ("_resolve", "_root", "_shown")

    def __init__(self, root_fd: int, *, in_container: bool, shown: str) -> None:
        self._root = root_fd
        self._resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS if in_container else 0
        self._shown = f"{shown}:" if shown else ""

    def error(self, path: str, reason: str, hint: str | None = None) -> HostError:
        """Return an error about a path here."""
        return HostError(f"{self._shown}{path}: {reason}", hint=hint)

    def open(self, path: str, flags: int) -> int:
        """openat2(2) of an absolute path.

        Raises:
            HostError: with the path as the user wrote it.
        """
        try:
            return openat2(self._root, path, flags, self._resolve)
        except SyscallError as error:
            raise self.error(path, os.strerror(error.errno or 0)) from error

    def try_open(self, path: str, flags: int) -> int | None:
        """Return what `open` does; None if there is no such path, or it is of another kind."""
        try:
            return openat2(self._root, path, flags, self._resolve)
        except SyscallError as error:
            if error.errno in (ENOENT, ENOTDIR, ELOOP):
                return None
            raise self.error(path, os.strerror(error.errno or 0)) from error

    def parent(self, path: str) -> tuple[int, bytes]:
        """Return a descriptor of the directory that `path` is in, and its name there.

        A link in the last place is followed, also one that leads nowhere.

        Raises:
            HostError: if there is no such directory.
        """
        for _ in range(_MAX_LINKS):
            above, _, name = path.rstrip("/").rpartition("/")
            if name in ("", ".", ".."):
                raise self.error(path, "names no file")
            fd = self.open(above or "/", _DIRECTORY)
            try:
                target = os.readlink(name, dir_fd=fd)
            except OSError:
                return fd, os.fsencode(name)
            os.close(fd)
            path = target if target.startswith("/") else f"{above}/{target}"
        raise self.error(path, os.strerror(ELOOP))


def is_directory(fd: int) -> bool:
    """Return whether a descriptor is of a directory."""
    return stat.S_ISDIR(os.fstat(fd).st_mode)
