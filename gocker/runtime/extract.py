"""Writes the members of a tar archive into a layer's directory, in overlayfs's form.

Every name is resolved by the kernel below the layer's root (openat2, RESOLVE_IN_ROOT), and only
its last component is then touched, by calls that follow no link. Whiteouts become character
devices 0:0, opaque directories are reported. What the same layer has written is never removed
by its own whiteouts, whatever the order (image-spec layer.md, "Whiteouts").
"""

from __future__ import annotations

import os
import stat
from errno import ELOOP, ENOENT, ENOTDIR, ENOTSUP

from gocker import tar
from gocker.errors import SyscallError
from gocker.linux.path import (
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    openat2,
)
from gocker.tar import bad, clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from gocker.tar import Member

    _Made = TypeVar("_Made")

    Parts = tuple[bytes, ...]

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
_AUFS = b".wh..wh."
_IN_LAYER = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40  # as the kernel, path_resolution(7)
_MOST_OPEN = 64
# What the kernel takes; ext4 and others clamp further. 2^40 s are 34,000 years.
_MAX_SECONDS = 1 << 40
_REFUSED_XATTRS = (b"trusted.overlay.", b"user.overlay.")
_KEPT_XATTRS = (b"user.", b"security.capability", b"system.posix_acl_access",
                b"system.posix_acl_default")  # fmt: skip


class NeedsParents(Exception):  # noqa: N818  # a finding, not an error: the layer is done again
    """The archive names something that only a layer below it has."""


class Extractor:
    """One layer being written.

    Args:
        root_fd: the layer's directory, the root of this process.
        lower_fd: a mount of the layers below, or -1. Directories that the archive does not
            list get their attributes, and hard links their targets, from there.
        bottom: there are no layers below.
        depth: the most components a name may have.
    """

    def __init__(self, root_fd: int, lower_fd: int, *, bottom: bool, depth: int) -> None:
        self._root = root_fd
        self._lower = lower_fd
        self._bottom = bottom
        self._depth = depth
        self._open: dict[Parts, int] = {}
        self._orphan = -1
        self._times: dict[Parts, int] = {}
        self.opaque: dict[Parts, None] = {}
        self.dropped: dict[str, int] = {}
        # Whether the result depends on what is below: then it serves this place only.
        self.positional = lower_fd >= 0
        # Whether it has whiteouts, which would be seen where there is nothing below.
        self.hides = False
        self.root: tuple[int, int, int] | None = None

    def add(self, member: Member, reader: tar.Reader) -> None:
        """Write one member.

        Raises:
            NeedsParents: see there.
            HostError: the member cannot be what it says.
            OSError: the file system refuses.
        """
        parts = clean(member.name)
        if len(parts) > self._depth:
            raise bad(f"{member.name[:80]!r} is {len(parts)} directories deep")
        if not parts:
            self._set_root(member)
        elif any(part.startswith(_AUFS) and part != OPAQUE for part in parts):
            pass  # AUFS's own files, as everyone leaves them out
        elif parts[-1].startswith(WHITEOUT):
            self._whiteout(parts)
        elif any(part.startswith(WHITEOUT) for part in parts):
            raise bad(f"{member.name[:80]!r} lies in a whiteout")
        else:
            self._entry(parts, member, reader)

    def finish(self) -> None:
        """Set the times of directories, which every entry in them has changed."""
        for parts, mtime_ns in self._times.items():
            fd = self._find(parts)
            if fd is not None:
                os.utime(fd, ns=(mtime_ns, mtime_ns))
                os.close(fd)
        self._forget()

    def _find(self, parts: Parts) -> int | None:
        """Open a directory that was written; None if something else has taken its place."""
        try:
            path = os.fsdecode(b"/".join(parts) or b".")
            return openat2(self._root, path, _DIRECTORY | os.O_NOFOLLOW, _IN_LAYER)
        except SyscallError as error:
            if error.errno in (ENOENT, ENOTDIR, ELOOP):
                return None
            raise

    # -- one entry -----------------------------------------------------------------------------

    def _set_root(self, member: Member) -> None:
        if member.kind != tar.DIRECTORY:
            raise bad("its root is not a directory")
        self._attributes(self._root, member)
        self._times[()] = _ns(member)
        self.root = (member.mode, member.uid, member.gid)

    def _entry(self, parts: Parts, member: Member, reader: tar.Reader) -> None:
        parent = self._directory(parts[:-1])
        name = parts[-1]
        kind = member.kind
        if kind == tar.DIRECTORY:
            self._make_directory(parent, parts, member)
        elif kind == tar.REGULAR:
            self._make_file(parent, name, member, reader)
        elif kind == tar.HARD_LINK:
            self._make_link(parts, member)
        else:
            self._make_node(parent, name, member)

    def _make_directory(self, parent: int, parts: Parts, member: Member) -> None:
        name = parts[-1]
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                self._remove(parent, name)
                os.mkdir(name, 0o700, dir_fd=parent)
                if _is_whiteout(found):
                    self._mark_opaque(parts)
        fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            self._attributes(fd, member)
        except BaseException:
            os.close(fd)
            raise
        self._times[parts] = _ns(member)
        self._keep(parts, fd)

    def _make_file(
        self, parent: int, name: bytes, member: Member, reader: tar.Reader
    ) -> None:  # fmt: skip
        fd = self._retry(parent, name, lambda: os.open(name, _NEW, member.mode, dir_fd=parent))
        try:
            if member.sparse is None:
                for _, data in reader.pieces():
                    _write(fd, data)
            else:
                for offset, data in reader.pieces():
                    os.lseek(fd, offset, os.SEEK_SET)
                    _write(fd, data)
                os.ftruncate(fd, member.real_size)
            if member.uid or member.gid:
                os.fchown(fd, member.uid, member.gid)
            if member.xattrs:
                self._set_xattrs(fd, member)
            if member.mode & 0o7000:  # writing and chown(2) have cleared them
                os.fchmod(fd, member.mode)
            ns = _ns(member)
            os.utime(fd, ns=(ns, ns))
        finally:
            os.close(fd)

    def _make_node(self, parent: int, name: bytes, member: Member) -> None:
        """Make a symbolic link, a FIFO or a device."""
        kind, mode = member.kind, member.mode
        if kind == tar.SYMLINK:
            if not member.link or b"\0" in member.link or len(member.link) >= tar.MAX_PATH:
                raise bad(f"the link {member.name[:80]!r} leads to {member.link[:40]!r}")
            self._retry(parent, name, lambda: os.symlink(member.link, name, dir_fd=parent))
        elif kind == tar.FIFO:
            self._retry(parent, name, lambda: os.mkfifo(name, mode, dir_fd=parent))
        else:
            if (member.major, member.minor) == (0, 0):
                raise bad(f"{member.name[:80]!r} is a device 0:0, an overlay's whiteout")
            kind_bit = stat.S_IFCHR if kind == tar.CHARACTER else stat.S_IFBLK
            try:
                device = os.makedev(member.major, member.minor)
            except OverflowError as error:
                raise bad(f"{member.name[:80]!r} has no possible device number") from error
            self._retry(
                parent, name, lambda: os.mknod(name, kind_bit | mode, device, dir_fd=parent)
            )
        os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
        if kind != tar.SYMLINK and mode & 0o7000:
            os.chmod(name, mode, dir_fd=parent)
        for xattr in member.xattrs:
            self._drop(xattr)
        ns = _ns(member)
        os.utime(name, ns=(ns, ns), dir_fd=parent, follow_symlinks=False)

    def _make_link(self, parts: Parts, member: Member) -> None:
        target = clean(member.link, "link")
        if not target or target == parts:
            raise bad(f"the hard link {member.name[:80]!r} leads to {member.link[:40]!r}")
        source = os.dup(self._directory(target[:-1]))  # a removal may empty the cache
        try:
            if self._missing(source, target[-1]):
                self._copy_up(source, target, member)
            parent = self._directory(parts[:-1])
            self._retry(parent, parts[-1], lambda: os.link(
                target[-1], parts[-1], src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False
            ))  # fmt: skip
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise bad(f"the hard link {member.name[:80]!r} cannot be made: {reason}") from error
        finally:
            os.close(source)

    def _missing(self, fd: int, name: bytes) -> bool:
        try:
            return _is_whiteout(os.stat(name, dir_fd=fd, follow_symlinks=False))
        except FileNotFoundError:
            return True

    def _whiteout(self, parts: Parts) -> None:
        name = parts[-1]
        if name == OPAQUE:
            self._directory(parts[:-1])
            self._mark_opaque(parts[:-1])
            return
        hidden = name[len(WHITEOUT) :]
        if hidden in (b"", b".", b".."):
            raise bad(f"{name!r} is the whiteout of no name")
        if self._bottom:
            self.positional = True  # nothing to hide here, but elsewhere there may be
            return
        parent = self._directory(parts[:-1])
        self.hides = True
        try:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=parent)
        except FileExistsError:
            found = os.stat(hidden, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                self._mark_opaque((*parts[:-1], hidden))

    def _mark_opaque(self, parts: Parts) -> None:
        if self._bottom:
            self.positional = True
        elif parts:
            self.hides = True
            self.opaque[parts] = None
        else:
            raise bad("its root is opaque: it would hide all layers below")

    # -- attributes ----------------------------------------------------------------------------

    def _attributes(self, fd: int, member: Member) -> None:
        os.fchown(fd, member.uid, member.gid)
        if member.xattrs:
            self._set_xattrs(fd, member)
        os.fchmod(fd, member.mode)

    def _set_xattrs(self, fd: int, member: Member) -> None:
        for name, value in member.xattrs.items():
            if name.startswith(_REFUSED_XATTRS):
                raise bad(f"{member.name[:80]!r} has the attribute {name!r} of an overlay")
            if not name.startswith(_KEPT_XATTRS) or b"\0" in name:
                self._drop(name)
                continue
            try:
                os.setxattr(fd, name, value)
            except OSError as error:
                if error.errno == ENOTSUP and name.startswith(b"user."):
                    self._drop(name)
                    continue
                raise bad(f"{member.name[:80]!r}: attribute {name!r}: {error.strerror}") from error

    def _drop(self, xattr: bytes) -> None:
        if xattr.startswith(_REFUSED_XATTRS):
            raise bad(f"an entry has the attribute {xattr!r} of an overlay")
        shown = xattr[:60].decode("ascii", "backslashreplace")
        if len(self.dropped) < 100:
            self.dropped[shown] = self.dropped.get(shown, 0) + 1

    # -- directories ---------------------------------------------------------------------------

    def _directory(self, parts: Parts) -> int:
        """Return a descriptor of a directory of the layer, which the cache owns."""
        if not parts:
            return self._root
        fd = self._open.pop(parts, None)
        if fd is None:
            fd = self._open_directory(parts)
        self._keep(parts, fd)  # as the newest
        return fd

    def _open_directory(self, parts: Parts) -> int:
        try:
            return openat2(self._root, os.fsdecode(b"/".join(parts)), _DIRECTORY, _IN_LAYER)
        except SyscallError as error:
            if error.errno not in (ENOENT, ENOTDIR):
                raise bad(f"{b'/'.join(parts)[:80]!r}: {os.strerror(error.errno or 0)}") from error
        return self._make_parents(parts)

    def _keep(self, parts: Parts, fd: int) -> None:
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
        fd = os.dup(self._root)
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
                fd = openat2(self._root, path, _DIRECTORY, _IN_LAYER | RESOLVE_NO_SYMLINKS)
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
        if _is_whiteout(found):
            os.unlink(name, dir_fd=fd)
            os.mkdir(name, 0o755, dir_fd=fd)
            self._mark_opaque((*at, name))
        elif not stat.S_ISDIR(found.st_mode):
            raise bad(f"{b'/'.join((*at, name))[:80]!r} is not a directory")
        return None

    def _imply(self, fd: int, path: Parts) -> bytes | None:
        """Make a directory that the archive does not list, as it is in the layers below."""
        if self._lower < 0:
            if not self._bottom:
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
                made = os.open(path[-1], _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                try:
                    os.fchown(made, status.st_uid, status.st_gid)
                    os.fchmod(made, stat.S_IMODE(status.st_mode))
                    self._times[path] = status.st_mtime_ns
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

    def _copy_up(self, fd: int, path: Parts, member: Member) -> None:
        """Copy a file from the layers below, for a hard link to it."""
        missing = bad(f"the hard link {member.name[:80]!r} leads to nothing")
        if self._lower < 0:
            if self._bottom:
                raise missing
            raise NeedsParents
        lower = self._open_lower(path, os.O_RDONLY | os.O_NONBLOCK)
        if lower < 0:
            raise missing
        try:
            status = os.fstat(lower)
            if not stat.S_ISREG(status.st_mode):
                raise missing
            made = os.open(path[-1], _NEW, 0o600, dir_fd=fd)
            try:
                while data := os.read(lower, 1 << 18):
                    _write(made, data)
                os.fchown(made, status.st_uid, status.st_gid)
                for name in os.listxattr(lower):
                    if os.fsencode(name).startswith(_KEPT_XATTRS):
                        os.setxattr(made, name, os.getxattr(lower, name))
                os.fchmod(made, stat.S_IMODE(status.st_mode))
                os.utime(made, ns=(status.st_mtime_ns, status.st_mtime_ns))
            finally:
                os.close(made)
        finally:
            os.close(lower)

    # -- what was there before -----------------------------------------------------------------

    def _retry(self, parent: int, name: bytes, make: Callable[[], _Made]) -> _Made:
        """Make something under a name, after removing what the same layer has put there."""
        try:
            return make()
        except FileExistsError:
            self._remove(parent, name)
            return make()

    def _remove(self, fd: int, name: bytes) -> None:
        """Remove what an entry takes the place of; no path can have gone through it any more.

        `fd`, which may be one of the cache's, stays open until the next removal.
        """
        keep = os.dup(fd) if fd == self._root else fd
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
    fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        for entry in os.listdir(fd):
            _remove(fd, os.fsencode(entry), depth - 1)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)


def _write(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    while written < len(data):
        data = data[written:]
        written = os.write(fd, data)


def _ns(member: Member) -> int:
    limit = _MAX_SECONDS * 1_000_000_000
    return max(-limit, min(member.mtime_ns, limit))


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
