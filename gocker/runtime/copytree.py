"""Copies a directory with everything in it, from descriptor to descriptor.

No link is followed in either tree: what an image has at a path can be anything, and what another
container may have put into a volume, too (CVE-2020-1726, CVE-2022-23648, CVE-2023-0778).
"""

from __future__ import annotations

import os
import stat
from errno import ENOTSUP

from gocker.errors import HostError

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_DEPTH = 500
_CHUNK = 1 << 20
_NO_XATTR = ("trusted.", "security.selinux", "security.ima", "security.evm")


class _Copy:
    """One copy. `links`: what was copied with more than one name, by device and inode."""

    def __init__(self, target_fd: int) -> None:
        self._top = target_fd
        self._links: dict[tuple[int, int], str] = {}

    def directory(self, source: int, target: int, path: str, depth: int) -> None:
        """Copy what is in a directory, and then its own attributes."""
        if depth > _MOST_DEPTH:
            raise HostError(f"{path!r} is more than {_MOST_DEPTH} directories deep")
        for name in os.listdir(source):
            self.entry(source, target, name, f"{path}/{name}", depth)
        _attributes(source, target)

    def entry(self, source: int, target: int, name: str, path: str, depth: int) -> None:
        """Copy one entry."""
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            self._down(source, target, name, path, depth)
            return
        key = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and key in self._links:
            os.link(self._links[key][1:], name, src_dir_fd=self._top, dst_dir_fd=target,
                    follow_symlinks=False)  # fmt: skip
            return
        if kind == stat.S_IFREG:
            _file(source, target, name)
        elif kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        elif kind in (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK):
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
        else:
            return  # a socket is nothing without its process
        if kind != stat.S_IFREG:
            os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
            times = (status.st_atime_ns, status.st_mtime_ns)
            os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)
        if status.st_nlink > 1:
            self._links[key] = path

    def _down(self, source: int, target: int, name: str, path: str, depth: int) -> None:
        os.mkdir(name, 0o700, dir_fd=target)
        below = os.open(name, DIRECTORY, dir_fd=source)
        try:
            made = os.open(name, DIRECTORY, dir_fd=target)
            try:
                self.directory(below, made, path, depth + 1)
            finally:
                os.close(made)
        finally:
            os.close(below)


def _file(source: int, target: int, name: str) -> None:
    old = os.open(name, _FILE, dir_fd=source)
    try:
        new = os.open(name, _NEW, 0o600, dir_fd=target)
        try:
            while data := os.read(old, _CHUNK):
                view = memoryview(data)
                while view:
                    view = view[os.write(new, view) :]
            _attributes(old, new)
        finally:
            os.close(new)
    finally:
        os.close(old)


def _attributes(source: int, target: int) -> None:
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    for name in os.listxattr(source):
        if not name.startswith(_NO_XATTR):
            try:
                os.setxattr(target, name, os.getxattr(source, name))
            except OSError as error:
                if error.errno != ENOTSUP:
                    raise
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def copy(source: int, target: int) -> None:
    """Copy what is in the directory `source`, and its own attributes; the umask counts not.

    Raises:
        OSError, HostError: what does not fit, cannot be read, or is too deep.
    """
    _Copy(target).directory(source, target, "", 0)
