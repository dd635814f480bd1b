"""Copies a directory of an image into a new volume, in a process of its own.

Both trees are walked by descriptors and no link is followed in either: what an image has at a
path can be anything, and what another container may have put into the volume, too
(CVE-2020-1726, CVE-2022-23648, CVE-2023-0778).
"""

from __future__ import annotations

import json
import os
import stat
import sys
from errno import ELOOP, ENOENT, ENOTDIR, ENOTSUP

from gocker.errors import GockerError, HostError, SyscallError
from gocker.linux import mount as m
from gocker.linux import process
from gocker.linux.path import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from gocker.runtime.unpack import open_lower, report_to

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
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
        below = os.open(name, _DIRECTORY, dir_fd=source)
        try:
            made = os.open(name, _DIRECTORY, dir_fd=target)
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


def copy_up(options: dict[str, Any]) -> dict[str, Any]:
    """Copy as `options` say, see `main`; return the report.

    Raises:
        GockerError, OSError: why not.
    """
    process.unshare(process.CLONE_NEWNS)
    m.mount(None, "/", None, m.MS_REC | m.MS_PRIVATE)
    lower = open_lower(options["lower"])
    try:
        resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
        source = openat2(lower, options["path"], _DIRECTORY, resolve)
    except SyscallError as error:
        if error.errno in (ENOENT, ENOTDIR, ELOOP):
            return {"copied": False}
        raise
    target = os.open(options["target"], _DIRECTORY)
    if os.listdir(target):
        return {"copied": False}
    os.umask(0)
    _Copy(target).directory(source, target, "", 0)
    return {"copied": True}


def main() -> None:
    """Copy; the first argument is a JSON object, the report goes to standard output.

    ``lower``: the image's layers, topmost first; ``path``: of the directory in it; ``target``: the
    volume's directory. Nothing is copied into a volume that has something in it, and nothing
    if there is no such directory, or a link is in its place.
    """
    process.prctl(process.PR_SET_PDEATHSIG, 9)
    options = json.loads(sys.argv[1])
    try:
        report = copy_up(options)
    except GockerError as error:
        report = {"error": error.to_wire()}
    except OSError as error:
        what = f"cannot copy the image's {options['path']!r} into its volume: {error.strerror}"
        report = {"error": HostError(what).to_wire()}
    report_to(1, report)
