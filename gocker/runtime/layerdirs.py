"""The directories of a layer being written: found below its root, made where they are missing.

A directory that the archive leaves out is what the layers below have at its place, and a link of
theirs leads on; so is the target of a hard link. Nothing of it can lead out of the layer.
"""

from __future__ import annotations

import os
import stat
from errno import ELOOP, ENOENT, ENOTDIR

from gocker.errors import SyscallError
from gocker.linux.path import (
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    openat2,
)
from gocker.tar import bad

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.tar import Member

    Parts = tuple[bytes, ...]

_IN_LAYER = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40  # as the kernel, path_resolution(7)
_MOST_OPEN = 64
KEPT_XATTRS = (b"user.", b"security.capability", b"system.posix_acl_access",
               b"system.posix_acl_default")  # fmt: skip


class NeedsParents(Exception):  # noqa: N818  # a finding, not an error: the layer is done again
    """The archive names something that only a layer below it has."""


class Directories:
    """All of one layer, with a cache of open ones.

    Args:
        root: the layer's directory, the root of this process.
        lower: a mount of the layers below, or -1.
        bottom: there are no layers below.
        depth: the most directories in one another.
    """

    def __init__(self, root: int, lower: int, *, bottom: bool, depth: int) -> None:
        self.root = root
        self._lower = lower
        self.bottom = bottom
        self._depth = depth
        self._open: dict[Parts, int] = {}
        self._orphan = -1
        self.times: dict[Parts, int] = {}
        self.opaque: dict[Parts, None] = {}
        # Whether the result depends on what is below: then it serves this place only.
        self.positional = lower >= 0
        # Whether it has whiteouts, which would be seen where there is nothing below.
        self.hides = False

    def finish(self) -> None:
        """Set the times of directories, which every entry in them has changed."""
        for parts, mtime_ns in self.times.items():
            fd = self._find(parts)
            if fd is not None:
                os.utime(fd, ns=(mtime_ns, mtime_ns))
                os.close(fd)
        self._forget()

    def _find(self, parts: Parts) -> int | None:
        """Open a directory that was written; None if something else has taken its place."""
        try:
            path = os.fsdecode(b"/".join(parts) or b".")
            return openat2(self.root, path, DIRECTORY | os.O_NOFOLLOW, _IN_LAYER)
        except SyscallError as error:
            if error.errno in (ENOENT, ENOTDIR, ELOOP):
                return None
            raise

    def mark_opaque(self, parts: Parts) -> None:
        """Note that a directory hides what the layers below have in it."""
        if self.bottom:
            self.positional = True
        elif parts:
            self.hides = True
            self.opaque[parts] = None
        else:
            raise bad("its root is opaque: it would hide all layers below")

    def open(self, parts: Parts) -> int:
        """Return a descriptor of a directory of the layer, which the cache owns."""
        if not parts:
            return self.root
        fd = self._open.pop(parts, None)
        if fd is None:
            fd = self._open_directory(parts)
        self.keep(parts, fd)  # as the newest
        return fd

    def _open_directory(self, parts: Parts) -> int:
        try:
            return openat2(self.root, os.fsdecode(b"/".join(parts)), DIRECTORY, _IN_LAYER)
        except SyscallError as error:
            if error.errno not in (ENOENT, ENOTDIR):
                raise bad(f"{b'/'.join(parts)[:80]!r}: {os.strerror(error.errno or 0)}") from error
        return self._make_parents(parts)

    def keep(self, parts: Parts, fd: int) -> None:
        """Give a descriptor of a directory to the cache."""
        before = self._open.pop(parts, None)
        if before is not None:
            os.close(before)
        self._open[parts] = fd
        if len(self._open) > _MOST_OPEN:
            # The oldest; never one of the two that the current entry uses.
            os.close(self._open.pop(next(iter(self._open))))

    def _forget(self) -> None:
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()
        if self._orphan >= 0:
            os.close(self._orphan)
            self._orphan = -1

    def _make_parents(self, parts: Parts) -> int:
        """Open a directory one component after the other, making what is missing.

        A link's target is put in the place of its name, so that what is made lies where the
        layers below say that it is.
        """
        at: list[bytes] = []
        fd = os.dup(self.root)
        links = 0
        todo = list(reversed(parts))
        try:
            while todo:
                name = todo.pop()
                target = None if name == b".." else self._step(fd, at, name)
                if name == b"..":
                    del at[-1:]
                elif target is None:
                    at.append(name)
                else:
                    links += 1
                    if links > _MAX_LINKS:
                        raise bad(f"{b'/'.join(parts)[:80]!r} has too many links")
                    todo += [part for part in reversed(target.split(b"/")) if part not in (b"", b".")]  # noqa: E501  # fmt: skip
                    if not target.startswith(b"/"):
                        continue
                    at.clear()
                os.close(fd)
                path = os.fsdecode(b"/".join(at) or b".")
                fd = -1
                fd = openat2(self.root, path, DIRECTORY, _IN_LAYER | RESOLVE_NO_SYMLINKS)
        except BaseException:
            if fd >= 0:
                os.close(fd)
            raise
        return fd

    def _step(self, fd: int, at: list[bytes], name: bytes) -> bytes | None:
        """Have a directory `name` in `fd`, whose path is `at`; or return where a link leads."""
        try:
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return self._imply(fd, (*at, name))
        if stat.S_ISLNK(found.st_mode):
            return os.readlink(name, dir_fd=fd)
        if is_whiteout(found):
            os.unlink(name, dir_fd=fd)
            os.mkdir(name, 0o755, dir_fd=fd)
            self.mark_opaque((*at, name))
        elif not stat.S_ISDIR(found.st_mode):
            raise bad(f"{b'/'.join((*at, name))[:80]!r} is not a directory")
        return None

    def _imply(self, fd: int, path: Parts) -> bytes | None:
        """Make a directory that the archive does not list, as it is in the layers below."""
        if self._lower < 0:
            if not self.bottom:
                raise NeedsParents
            self.positional = True  # elsewhere it would be as it is below
            os.mkdir(path[-1], 0o755, dir_fd=fd)
            return None
        lower = self._open_lower(path)
        try:
            status = os.fstat(lower) if lower >= 0 else None
            if status is not None and stat.S_ISLNK(status.st_mode):
                return os.readlink(b"", dir_fd=lower)
            os.mkdir(path[-1], 0o755, dir_fd=fd)
            if status is not None and stat.S_ISDIR(status.st_mode):
                made = os.open(path[-1], DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                try:
                    os.fchown(made, status.st_uid, status.st_gid)
                    os.fchmod(made, stat.S_IMODE(status.st_mode))
                    self.times[path] = status.st_mtime_ns
                finally:
                    os.close(made)
        finally:
            if lower >= 0:
                os.close(lower)
        return None

    def _open_lower(self, path: Parts, flags: int = os.O_PATH) -> int:
        """Open what the layers below have at `path`, no link followed; -1 if there is nothing."""
        try:
            name = os.fsdecode(b"/".join(path))
            return openat2(
                self._lower, name, flags | os.O_NOFOLLOW, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
            )
        except SyscallError as error:
            if error.errno in (ENOENT, ENOTDIR, ELOOP):
                return -1
            raise

    def copy_up(self, fd: int, path: Parts, member: Member) -> None:
        """Copy a file from the layers below, for a hard link to it."""
        missing = bad(f"the hard link {member.name[:80]!r} leads to nothing")
        if self._lower < 0:
            if self.bottom:
                raise missing
            raise NeedsParents
        lower = self._open_lower(path, os.O_RDONLY | os.O_NONBLOCK)
        if lower < 0:
            raise missing
        try:
            status = os.fstat(lower)
            if not stat.S_ISREG(status.st_mode):
                raise missing
            made = os.open(path[-1], NEW, 0o600, dir_fd=fd)
            try:
                while data := os.read(lower, 1 << 18):
                    write(made, data)
                os.fchown(made, status.st_uid, status.st_gid)
                for name in os.listxattr(lower):
                    if os.fsencode(name).startswith(KEPT_XATTRS):
                        os.setxattr(made, name, os.getxattr(lower, name))
                os.fchmod(made, stat.S_IMODE(status.st_mode))
                os.utime(made, ns=(status.st_mtime_ns, status.st_mtime_ns))
            finally:
                os.close(made)
        finally:
            os.close(lower)

    def remove(self, fd: int, name: bytes) -> None:
        """Remove what an entry takes the place of; no path can have gone through it any more.

        `fd`, which may be one of the cache's, stays open until the next removal.
        """
        keep = os.dup(fd) if fd == self.root else fd
        _remove(fd, name, self._depth)
        for held in self._open.values():
            if held != keep:
                os.close(held)
        self._open.clear()
        if self._orphan not in (-1, keep):
            os.close(self._orphan)
        self._orphan = keep


def _remove(parent: int, name: bytes, depth: int) -> None:
    try:
        os.unlink(name, dir_fd=parent)
        return
    except IsADirectoryError:
        pass
    if depth < 0:
        raise bad("directories are too deep")
    fd = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        for entry in os.listdir(fd):
            _remove(fd, os.fsencode(entry), depth - 1)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)


def write(fd: int, data: bytes) -> None:
    """Write all of it."""
    written = os.write(fd, data)
    while written < len(data):
        data = data[written:]
        written = os.write(fd, data)


def is_whiteout(status: os.stat_result) -> bool:
    """Return whether it is overlayfs's mark for a name that is hidden."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
