"""A tar stream written below a directory: names may be hostile, and so may the directory.

Every component of a name is opened from its parent's descriptor and no link is followed, so
nothing outside of the directory is touched, whatever the stream or others in the directory do.
What is there is overwritten as cp(1) does: a file's content, a link as such; a directory stays.
"""

from __future__ import annotations

import os
import stat
from errno import EEXIST, EISDIR, ELOOP, ENOTDIR, ETXTBSY

from gocker import tar
from gocker.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.tar import Member, Reader

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OVERWRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_SECONDS = 1 << 40


class Extractor:
    """Writes members below a directory.

    Args:
        top_fd: the directory; stays the caller's.
        archive: keep owners and set-user-ID bits; else all is ours, without such bits.
        rename: what the first component of all names becomes, None keeps it; b"" leaves it out.
    """

    def __init__(self, top_fd: int, *, archive: bool, rename: bytes | None) -> None:
        self._top = top_fd
        self._archive = archive
        self._rename = rename
        self._times: list[tuple[tuple[bytes, ...], int]] = []
        self.skipped: list[str] = []

    def add(self, member: Member, reader: Reader) -> None:
        """Write one member.

        Raises:
            HostError: it cannot be what it says, here.
            OSError: the file system refuses.
        """
        parts = self._renamed(tar.clean(member.name))
        if not parts:
            return
        parent = self._parent(parts)
        try:
            self._one(parent, parts, member, reader)
        finally:
            os.close(parent)

    def finish(self) -> None:
        """Set the times of directories, which every entry in them has changed."""
        for parts, mtime_ns in reversed(self._times):
            try:
                parent = self._parent(parts)
            except HostError:
                continue  # it was replaced meanwhile
            try:
                fd = os.open(parts[-1], _DIRECTORY, dir_fd=parent)
                os.utime(fd, ns=(mtime_ns, mtime_ns))
                os.close(fd)
            except OSError:
                continue
            finally:
                os.close(parent)

    def _renamed(self, parts: tuple[bytes, ...]) -> tuple[bytes, ...]:
        if self._rename is None or not parts:
            return parts
        return (*((self._rename,) if self._rename else ()), *parts[1:])

    def _parent(self, parts: tuple[bytes, ...]) -> int:
        """Return a descriptor of the directory a name is in; missing ones are made."""
        fd = os.dup(self._top)
        for part in parts[:-1]:
            try:
                below = self._enter(fd, part)
            except OSError as error:
                shown = os.fsdecode(b"/".join(parts))
                raise HostError(
                    f"cannot write {shown!r}: {os.fsdecode(part)!r} is a link or a file there"
                    if error.errno in (ELOOP, ENOTDIR)
                    else f"cannot write {shown!r}: {error.strerror}"
                ) from error
            finally:
                os.close(fd)
            fd = below
        return fd

    def _enter(self, fd: int, part: bytes) -> int:
        try:
            return os.open(part, _DIRECTORY, dir_fd=fd)
        except FileNotFoundError:
            os.mkdir(part, 0o755, dir_fd=fd)
            return os.open(part, _DIRECTORY, dir_fd=fd)

    def _one(
        self, parent: int, parts: tuple[bytes, ...], member: Member, reader: Reader
    ) -> None:  # fmt: skip
        name, kind = parts[-1], member.kind
        if kind == tar.DIRECTORY:
            self._directory(parent, parts, member)
        elif kind == tar.REGULAR:
            self._file(parent, name, member, reader)
        elif kind == tar.SYMLINK:
            self._replace(parent, name)
            os.symlink(member.link, name, dir_fd=parent)
            self._own(parent, name, member)
        elif kind == tar.HARD_LINK:
            self._link(parent, name, member)
        elif kind == tar.FIFO:
            self._replace(parent, name)
            os.mkfifo(name, member.mode & 0o777, dir_fd=parent)
            self._own(parent, name, member)
        else:
            self.skipped.append(f"{os.fsdecode(member.name)}: a device")

    def _directory(self, parent: int, parts: tuple[bytes, ...], member: Member) -> None:
        name = parts[-1]
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            pass
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=parent)
        except OSError as error:
            if error.errno not in (ENOTDIR, ELOOP):
                raise
            raise HostError(
                f"cannot overwrite {os.fsdecode(name)!r}, which is no directory, with a directory"
            ) from error
        try:
            if self._archive:
                os.fchown(fd, member.uid, member.gid)
            os.fchmod(fd, self._mode(member))
        finally:
            os.close(fd)
        self._times.append((parts, _ns(member)))

    def _file(self, parent: int, name: bytes, member: Member, reader: Reader) -> None:
        fd = self._open_file(parent, name)
        try:
            if member.sparse is None:
                for _, data in reader.pieces():
                    _write_all(fd, data)
            else:
                for offset, data in reader.pieces():
                    os.lseek(fd, offset, os.SEEK_SET)
                    _write_all(fd, data)
                os.ftruncate(fd, member.real_size)
            if self._archive:
                os.fchown(fd, member.uid, member.gid)
            os.fchmod(fd, self._mode(member))
            os.utime(fd, ns=(_ns(member), _ns(member)))
        finally:
            os.close(fd)

    def _open_file(self, parent: int, name: bytes) -> int:
        """Open a file to be overwritten, or a new one in the place of anything but a directory."""
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return os.open(name, _NEW, 0o600, dir_fd=parent)
        if stat.S_ISDIR(found.st_mode):
            raise _overwrites_directory(name)
        if stat.S_ISREG(found.st_mode):
            try:
                # In place: it may be a mount point, as /etc/hosts is.
                fd = os.open(name, _OVERWRITE, dir_fd=parent)
                if stat.S_ISREG(os.fstat(fd).st_mode):
                    os.ftruncate(fd, 0)
                    return fd
                os.close(fd)
            except OSError as error:
                if error.errno not in (ETXTBSY, ELOOP):
                    raise
        self._replace(parent, name)
        return os.open(name, _NEW, 0o600, dir_fd=parent)

    def _link(self, parent: int, name: bytes, member: Member) -> None:
        target = self._renamed(tar.clean(member.link, "link"))
        if not target:
            raise tar.bad(f"the hard link {member.name[:80]!r} leads to the top")
        source = self._parent(target)
        try:
            self._replace(parent, name)
            os.link(target[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except FileExistsError:
            pass  # the same file, copied over itself
        finally:
            os.close(source)

    def _replace(self, parent: int, name: bytes) -> None:
        """Remove what is there, but no directory."""
        try:
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in (EISDIR, EEXIST):
                raise _overwrites_directory(name) from error
            raise

    def _own(self, parent: int, name: bytes, member: Member) -> None:
        if self._archive:
            os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
        ns = _ns(member)
        os.utime(name, ns=(ns, ns), dir_fd=parent, follow_symlinks=False)

    def _mode(self, member: Member) -> int:
        """Return the mode. A set-user-ID bit would be the new owner's, who did not give it."""
        return member.mode if self._archive else member.mode & 0o1777


def _overwrites_directory(name: bytes) -> HostError:
    return HostError(f"cannot overwrite the directory {os.fsdecode(name)!r} with a file")


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _ns(member: Member) -> int:
    limit = _MOST_SECONDS * 1_000_000_000
    return max(-limit, min(limit, member.mtime_ns))
