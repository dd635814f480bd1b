"""Writes the members of a tar archive into a layer's directory, in overlayfs's form.

Every name is resolved by the kernel below the layer's root (openat2, RESOLVE_IN_ROOT), and only
its last component is then touched, by calls that follow no link. Whiteouts become character
devices 0:0, opaque directories are reported. What the same layer has written is never removed
by its own whiteouts, whatever the order (image-spec layer.md, "Whiteouts").
"""

from __future__ import annotations

import os
import stat
from errno import ENOTSUP

from gocker import tar
from gocker.runtime.layerdirs import (
    DIRECTORY,
    KEPT_XATTRS,
    NEW,
    Directories,
    is_whiteout,
    write,
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
# What the kernel takes; ext4 and others clamp further. 2^40 s are 34,000 years.
_MAX_SECONDS = 1 << 40
_REFUSED_XATTRS = (b"trusted.overlay.", b"user.overlay.")


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
        self.directories = Directories(root_fd, lower_fd, bottom=bottom, depth=depth)
        self._depth = depth
        self.dropped: dict[str, int] = {}
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

    # -- one entry -----------------------------------------------------------------------------

    def _set_root(self, member: Member) -> None:
        if member.kind != tar.DIRECTORY:
            raise bad("its root is not a directory")
        self._attributes(self.directories.root, member)
        self.directories.times[()] = _ns(member)
        self.root = (member.mode, member.uid, member.gid)

    def _entry(self, parts: Parts, member: Member, reader: tar.Reader) -> None:
        parent = self.directories.open(parts[:-1])
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
                self.directories.remove(parent, name)
                os.mkdir(name, 0o700, dir_fd=parent)
                if is_whiteout(found):
                    self.directories.mark_opaque(parts)
        fd = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            self._attributes(fd, member)
        except BaseException:
            os.close(fd)
            raise
        self.directories.times[parts] = _ns(member)
        self.directories.keep(parts, fd)

    def _make_file(
        self, parent: int, name: bytes, member: Member, reader: tar.Reader
    ) -> None:  # fmt: skip
        fd = self._retry(parent, name, lambda: os.open(name, NEW, member.mode, dir_fd=parent))
        try:
            if member.sparse is None:
                for _, data in reader.pieces():
                    write(fd, data)
            else:
                for offset, data in reader.pieces():
                    os.lseek(fd, offset, os.SEEK_SET)
                    write(fd, data)
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
        source = os.dup(self.directories.open(target[:-1]))  # a removal may empty the cache
        try:
            if self._missing(source, target[-1]):
                self.directories.copy_up(source, target, member)
            parent = self.directories.open(parts[:-1])
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
            return is_whiteout(os.stat(name, dir_fd=fd, follow_symlinks=False))
        except FileNotFoundError:
            return True

    def _whiteout(self, parts: Parts) -> None:
        name = parts[-1]
        if name == OPAQUE:
            self.directories.open(parts[:-1])
            self.directories.mark_opaque(parts[:-1])
            return
        hidden = name[len(WHITEOUT) :]
        if hidden in (b"", b".", b".."):
            raise bad(f"{name!r} is the whiteout of no name")
        if self.directories.bottom:
            self.directories.positional = True  # nothing to hide here, but elsewhere there may be
            return
        parent = self.directories.open(parts[:-1])
        self.directories.hides = True
        try:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=parent)
        except FileExistsError:
            found = os.stat(hidden, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                self.directories.mark_opaque((*parts[:-1], hidden))

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
            if not name.startswith(KEPT_XATTRS) or b"\0" in name:
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

    # -- what was there before -----------------------------------------------------------------

    def _retry(self, parent: int, name: bytes, make: Callable[[], _Made]) -> _Made:
        """Make something under a name, after removing what the same layer has put there."""
        try:
            return make()
        except FileExistsError:
            self.directories.remove(parent, name)
            return make()


def _ns(member: Member) -> int:
    limit = _MAX_SECONDS * 1_000_000_000
    return max(-limit, min(member.mtime_ns, limit))
