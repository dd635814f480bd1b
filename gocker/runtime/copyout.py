"""A file or a directory tree as a tar stream, read by descriptors: no link in it is followed."""

from __future__ import annotations

import os
import stat

from gocker import tar
from gocker.linux.terminal import filesystem_magic
from gocker.runtime.place import Place
from gocker.tarout import Writer, member

_CHUNK = 1 << 18
_MAX_DEPTH = 400  # each level takes a descriptor
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# Whose files are no data. include/uapi/linux/magic.h: proc, sysfs, cgroup, cgroup2, devpts,
# mqueue, securityfs, debugfs, tracefs, bpf.
_NO_DATA = {
    0x9FA0, 0x62656572, 0x27E0EB, 0x63677270, 0x1CD1, 0x19800202, 0x73636673, 0x64626720,
    0x74726163, 0xCAFE4A11,
}  # fmt: skip


class Archiver:
    """Writes one source to a stream; `skipped` names what is in it and not in the stream.

    Args:
        place: where the source is.
        write: takes the bytes.
    """

    def __init__(self, place: Place, write: object) -> None:
        self._place = place
        self._writer = Writer(write)  # type: ignore[arg-type]  # a callable, typed by the caller
        self._seen: dict[tuple[int, int], bytes] = {}
        self.skipped: list[str] = []

    def add(self, path: str, name: bytes, *, follow: bool) -> None:
        """Write what is at `path` as `name`.

        A link in its last place is written as such unless `follow`, or a "/" comes after it.

        Raises:
            HostError: it is not there, or cannot be read.
        """
        wanted = path.rstrip("/") or "/"
        flags = os.O_PATH | (0 if follow or path != wanted else os.O_NOFOLLOW)
        fd = self._place.open(wanted, flags)
        try:
            status = os.fstat(fd)
            if stat.S_ISDIR(status.st_mode):
                # From the same descriptor: it is what was looked at.
                top = os.open(".", _DIRECTORY, dir_fd=fd)
                self._refuse_no_data(top, path)
                self._directory(top, name, status, 1)
            elif path.endswith("/"):
                raise self._place.error(path, "is not a directory")
            else:
                self._top_file(fd, name, status, path)
        except OSError as error:
            raise self._place.error(path, error.strerror or "cannot be read") from error
        finally:
            os.close(fd)
        self._writer.close()

    def _refuse_no_data(self, fd: int, path: str) -> None:
        if filesystem_magic(fd) in _NO_DATA:
            os.close(fd)
            raise self._place.error(path, "is the kernel's, not data", "read it by gocker exec")

    def _top_file(self, fd: int, name: bytes, status: os.stat_result, path: str) -> None:
        if stat.S_ISREG(status.st_mode):
            # Its own descriptor opened for reading: no name is looked up a second time.
            opened = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if filesystem_magic(opened) in _NO_DATA:
                    raise self._place.error(path, "is the kernel's, not data")
                self._content(opened, name, status)
            finally:
                os.close(opened)
        elif stat.S_ISLNK(status.st_mode):
            link = os.readlink("", dir_fd=fd)
            self._writer.add(member(name, status, tar.SYMLINK, os.fsencode(link)))
        elif stat.S_ISFIFO(status.st_mode):
            self._writer.add(member(name, status, tar.FIFO))
        else:
            raise self._place.error(path, "is a device or a socket")

    def _directory(self, fd: int, name: bytes, status: os.stat_result, depth: int) -> None:
        """Write a directory and what is in it; closes `fd`."""
        try:
            self._writer.add(member(name, status, tar.DIRECTORY))
            if depth > _MAX_DEPTH:
                self._skip(name, f"deeper than {_MAX_DEPTH} directories")
                return
            for entry in sorted(os.listdir(fd)):
                raw = os.fsencode(entry)
                self._entry(fd, raw, name + b"/" + raw, depth)
        finally:
            os.close(fd)

    def _entry(self, parent: int, entry: bytes, name: bytes, depth: int) -> None:
        try:
            status = os.stat(entry, dir_fd=parent, follow_symlinks=False)
            kind = stat.S_IFMT(status.st_mode)
            if kind == stat.S_IFDIR:
                fd = os.open(entry, _DIRECTORY, dir_fd=parent)
                if filesystem_magic(fd) in _NO_DATA:
                    os.close(fd)
                    self._writer.add(member(name, status, tar.DIRECTORY))
                    self._skip(name, "the kernel's, not data")
                    return
                self._directory(fd, name, os.fstat(fd), depth + 1)
            elif kind == stat.S_IFREG:
                self._file(parent, entry, name)
            elif kind == stat.S_IFLNK:
                link = os.fsencode(os.readlink(entry, dir_fd=parent))
                self._writer.add(member(name, status, tar.SYMLINK, link))
            elif kind == stat.S_IFIFO:
                self._writer.add(member(name, status, tar.FIFO))
            else:
                self._skip(name, "a device or a socket")
        except FileNotFoundError:
            return  # removed meanwhile
        except NotADirectoryError:
            self._skip(name, "changed meanwhile")

    def _file(self, parent: int, entry: bytes, name: bytes) -> None:
        fd = os.open(entry, _FILE, dir_fd=parent)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                self._skip(name, "changed meanwhile")
                return
            key = (status.st_dev, status.st_ino)
            if status.st_nlink > 1 and key in self._seen:
                self._writer.add(member(name, status, tar.HARD_LINK, self._seen[key]))
                return
            if status.st_nlink > 1:
                self._seen[key] = name
            self._content(fd, name, status)
        finally:
            os.close(fd)

    def _content(self, fd: int, name: bytes, status: os.stat_result) -> None:
        self._writer.add(member(name, status, tar.REGULAR))
        left = status.st_size
        while left:
            data = os.read(fd, min(left, _CHUNK))
            if not data:
                self._skip(name, "became shorter: filled with zeros")
                break
            left = self._writer.data(data)
        self._writer.fill()

    def _skip(self, name: bytes, reason: str) -> None:
        if len(self.skipped) < 100:
            self.skipped.append(f"{os.fsdecode(name)}: {reason}")
