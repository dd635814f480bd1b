"""Tar archives, written as a stream: ustar headers, PAX records for what does not fit them.

The counterpart of `gocker.tar`, whose `Member` it takes. Source: pax(1) "pax Header Block".
"""

from __future__ import annotations

import os

from gocker.tar import BLOCK, DIRECTORY, HARD_LINK, REGULAR, SYMLINK, Member

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_OCTAL_8, _OCTAL_12 = 0o7777777, 0o77777777777
_CHUNK = 1 << 18


class Writer:
    """Writes members one after the other.

    Args:
        write: takes bytes, all of them.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._left = 0
        self._padding = 0

    def add(self, member: Member) -> None:
        """Begin a member; exactly `member.size` bytes of `data` have to follow."""
        self.fill()
        records = _records(member)
        if records:
            data = b"".join(_record(key, value) for key, value in records)
            self._write(_header(b"PaxHeaders/x", b"x", len(data), member))
            self._write(data + bytes(-len(data) % BLOCK))
        size = member.size if member.kind == REGULAR else 0
        self._write(_header(member.name, member.kind, size, member))
        self._left, self._padding = size, -size % BLOCK

    def data(self, chunk: bytes) -> int:
        """Write the next bytes of the member's data; what is beyond its size is left out.

        Returns:
            how many more it takes.
        """
        chunk = chunk[: self._left]
        self._left -= len(chunk)
        self._write(chunk)
        return self._left

    def fill(self) -> None:
        """End a member; zeros stand for data that did not come (a file became shorter)."""
        while self._left:
            self.data(bytes(min(self._left, _CHUNK)))
        if self._padding:
            self._write(bytes(self._padding))
            self._padding = 0

    def close(self) -> None:
        """Write the end of the archive."""
        self.fill()
        self._write(bytes(2 * BLOCK))


def member(name: bytes, status: os.stat_result, kind: bytes, link: bytes = b"") -> Member:
    """Return a file of a directory tree as a member."""
    made = Member()
    made.name, made.kind, made.link = name, kind, link
    made.mode = status.st_mode & 0o7777
    made.uid, made.gid = status.st_uid, status.st_gid
    made.size = made.real_size = status.st_size if kind == REGULAR else 0
    made.mtime_ns = status.st_mtime_ns
    made.major, made.minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    made.xattrs = {}
    made.sparse = None
    return made


def _records(member: Member) -> list[tuple[bytes, bytes]]:
    """Return what does not fit the fields of a ustar header."""
    found = [(b"SCHILY.xattr." + key, value) for key, value in member.xattrs.items()]
    if len(member.name) > 100:
        found.append((b"path", member.name))
    if len(member.link) > 100:
        found.append((b"linkpath", member.link))
    if member.kind == REGULAR and member.size > _OCTAL_12:
        found.append((b"size", b"%d" % member.size))
    if member.uid > _OCTAL_8:
        found.append((b"uid", b"%d" % member.uid))
    if member.gid > _OCTAL_8:
        found.append((b"gid", b"%d" % member.gid))
    seconds, ns = divmod(member.mtime_ns, 1_000_000_000)
    if ns or not 0 <= seconds <= _OCTAL_12:
        found.append((b"mtime", _decimal(member.mtime_ns)))
    return found


def _decimal(ns: int) -> bytes:
    seconds, rest = divmod(abs(ns), 1_000_000_000)
    return b"%s%d.%09d" % (b"-" if ns < 0 else b"", seconds, rest)


def _record(key: bytes, value: bytes) -> bytes:
    """Return ``LENGTH KEY=VALUE`` and a newline; the length counts itself."""
    body = b" %s=%s\n" % (key, value)
    length = len(body) + 1
    while len(b"%d" % length) + len(body) != length:
        length = len(b"%d" % length) + len(body)
    return b"%d%s" % (length, body)


def _header(name: bytes, kind: bytes, size: int, member: Member) -> bytes:
    seconds = member.mtime_ns // 1_000_000_000
    linked = member.link if kind in (SYMLINK, HARD_LINK) else b""
    if kind == DIRECTORY and not name.endswith(b"/"):
        name += b"/"
    fields = (
        name[:100].ljust(100, b"\0"),
        b"%07o\0" % member.mode,
        b"%07o\0" % (member.uid if member.uid <= _OCTAL_8 else 0),
        b"%07o\0" % (member.gid if member.gid <= _OCTAL_8 else 0),
        b"%011o\0" % (size if size <= _OCTAL_12 else 0),
        b"%011o\0" % (seconds if 0 <= seconds <= _OCTAL_12 else 0),
        b" " * 8,
        kind,
        linked[:100].ljust(100, b"\0"),
        b"ustar\00000",
        bytes(64),
        b"%07o\0%07o\0" % (member.major & _OCTAL_8, member.minor & _OCTAL_8),
        bytes(155 + 12),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
