"""Tar archives, read as bytes and as a stream: ustar, GNU and PAX, with limits on every header.

Only the format is known here. What a name may touch is for `gocker.runtime.unpack` to decide;
nothing in this module opens a file. The standard library's ``tarfile`` is not used: its filters
have been left behind several times (CVE-2025-4517, gh-149486 and others), it decodes names, and
some of its loops can be made endless by a header (CVE-2025-8194).

Source: tar(5), pax(1) "pax Header Block", the GNU tar manual "Storing Sparse Files".
"""

from __future__ import annotations

import re

from gocker.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class Stream(Protocol):
        """What an archive is read from."""

        def read(self, size: int) -> bytes:
            """Return `size` bytes, fewer only at the end."""
            ...


BLOCK = 512
REGULAR, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"  # fmt: skip  # noqa: E501  # one line: they are one list of POSIX's
_HEADER_ONLY = frozenset((HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO))
_KINDS = _HEADER_ONLY | {REGULAR}
_ALSO_REGULAR = (b"\0", b"7", b"S")
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_ZERO = bytes(BLOCK)
_CHUNK = 1 << 18

MAX_PATH = 4096  # PATH_MAX, with the NUL
MAX_HEADER = 1 << 20  # bytes of one PAX or long-name header
MAX_EXTENSIONS = 8  # of them before one entry
MAX_SPARSE = 100_000  # pieces of one sparse file
_XATTR = b"SCHILY.xattr."
_DECIMAL = re.compile(rb"[0-9]{1,20}")
_TIME = re.compile(rb"(-?)([0-9]{1,19})(?:\.([0-9]{0,30}))?")
_GLOBAL_HARMLESS = frozenset((b"comment", b"charset", b"hdrcharset"))


class Member:
    """One entry. `sparse`: (offset, size) of the data that is there, or None for all of it."""

    __slots__ = (
        "gid", "kind", "link", "major", "minor", "mode", "mtime_ns", "name", "real_size", "size",
        "sparse", "uid", "xattrs",
    )  # fmt: skip

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    link: bytes
    major: int
    minor: int
    xattrs: dict[bytes, bytes]
    sparse: list[tuple[int, int]] | None
    real_size: int


def bad(what: str) -> HostError:
    """Return the error for an archive that is not one, or not a sound one."""
    return HostError(f"the archive is damaged or hostile: {what}")


class Reader:
    """The members of an archive, in its order.

    Args:
        stream: the uncompressed archive.
        sparse_limit: the most bytes a sparse file may claim to have.
    """

    def __init__(self, stream: Stream, sparse_limit: int = 1 << 40) -> None:
        self._read = stream.read
        # A file can be moved in, which is faster than reading.
        self._seek = getattr(stream, "skip", None)
        self._sparse_limit = sparse_limit
        self._left = 0  # of the current member's data
        self._padding = 0
        self._member: Member | None = None

    def __iter__(self) -> Iterator[Member]:
        """Yield each member; what was not read of the last one's data is passed over.

        Raises:
            HostError: naming what is wrong with the archive.
        """
        while (member := self._next()) is not None:
            yield member

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Yield the current member's data as (offset, bytes), holes left out."""
        member = self._member
        if member is None:
            return
        for offset, size in member.sparse if member.sparse is not None else ((0, member.size),):
            at, end = offset, offset + size
            while at < end:
                data = self._read(min(end - at, _CHUNK))
                if not data:
                    raise bad("it ends inside a file")
                self._left -= len(data)
                yield at, data
                at += len(data)

    def content(self, most: int) -> bytes:
        """Return the current member's data.

        Raises:
            HostError: if it is longer than `most`.
        """
        if self._member is None or self._member.size > most or self._member.sparse is not None:
            raise bad(f"a file of it is longer than {most} bytes")
        return b"".join(data for _, data in self.pieces())

    def _skip(self) -> None:
        left = self._left + self._padding
        if self._seek is not None:
            self._seek(left)
            left = 0
        while left > 0:
            data = self._read(min(left, _CHUNK))
            if not data:
                raise bad("it ends inside a file")
            left -= len(data)
        self._left = self._padding = 0

    def _block(self) -> bytes | None:
        """Return the next header, None at the end of the archive."""
        block = self._read(BLOCK)
        if not block or block == _ZERO:
            return None
        if len(block) != BLOCK:
            raise bad("it ends inside a header")
        return block

    def _next(self) -> Member | None:
        self._skip()
        self._member = None
        name = link = None
        pax: dict[bytes, bytes] = {}
        for _ in range(MAX_EXTENSIONS):
            block = self._block()
            if block is None:
                if name is not None or link is not None or pax:
                    raise bad("it ends after an extended header")
                return None
            kind = block[156:157]
            if kind not in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL):
                return self._made(block, name, link, pax)
            size = _number(block[124:136], "size")
            if not 0 <= size <= MAX_HEADER:
                raise bad(f"an extended header of {size} bytes; the most is {MAX_HEADER}")
            _check(block)
            data = self._padded(size)
            if kind == _LONG_NAME:
                name = data.split(b"\0", 1)[0]
            elif kind == _LONG_LINK:
                link = data.split(b"\0", 1)[0]
            elif kind == _PAX:
                pax |= _records(data)
            elif not _records(data).keys() <= _GLOBAL_HARMLESS:
                raise bad("a global PAX header changes every entry")
        raise bad(f"more than {MAX_EXTENSIONS} extended headers before one entry")

    def _padded(self, size: int) -> bytes:
        data = self._read(size + -size % BLOCK)
        if len(data) < size:
            raise bad("it ends inside a header")
        return data[:size]

    def _made(
        self, block: bytes, name: bytes | None, link: bytes | None, pax: dict[bytes, bytes]
    ) -> Member:
        _check(block)
        member = Member()
        member.name = _name(block) if name is None else name
        member.link = block[157:257].split(b"\0", 1)[0] if link is None else link
        kind = block[156:157]
        member.kind = REGULAR if kind in _ALSO_REGULAR else kind
        member.mode = _number(block[100:108], "mode") & 0o7777
        member.uid = _number(block[108:116], "uid")
        member.gid = _number(block[116:124], "gid")
        member.size = _number(block[124:136], "size")
        member.mtime_ns = _number(block[136:148], "mtime") * 1_000_000_000
        member.xattrs = {}
        member.sparse = None
        member.major = member.minor = 0
        if pax:
            _apply(member, pax)
        if kind == b"\0" and member.name.endswith(b"/"):
            member.kind = DIRECTORY  # as before POSIX
        if member.kind not in _KINDS:
            raise bad(f"{member.name!r} is of unknown type {kind!r}")
        if member.kind in (CHARACTER, BLOCK_DEVICE):
            member.major = _number(block[329:337], "device number")
            member.minor = _number(block[337:345], "device number")
        # As Go's reader, which most images come from: these have no data, whatever they say.
        if member.kind in _HEADER_ONLY:
            member.size = 0
        if member.size < 0 or member.uid < 0 or member.gid < 0:
            raise bad(f"{member.name!r} has a negative size or owner")
        member.real_size = member.size
        self._left = member.size
        self._padding = -member.size % BLOCK
        self._member = member
        if kind == b"S":
            self._old_sparse(member, block)
        elif member.kind == REGULAR and any(key.startswith(b"GNU.sparse.") for key in pax):
            self._pax_sparse(member, pax)
        return member

    # -- sparse files --------------------------------------------------------------------------

    def _old_sparse(self, member: Member, block: bytes) -> None:
        """Read the map in and behind the header of GNU's type S."""
        found = _old_entries(block[386:482])
        extended = block[482] != 0
        while extended:
            more = self._read(BLOCK)
            if len(more) != BLOCK or len(found) > MAX_SPARSE:
                raise bad(f"the map of the sparse file {member.name!r} has no end")
            found += _old_entries(more[:504])
            extended = more[504] != 0
        self._set_sparse(member, found, _number(block[483:495], "real size"))

    def _pax_sparse(self, member: Member, pax: dict[bytes, bytes]) -> None:
        """Read the map of PAX's formats 0.0 and 0.1 (in the header) or 1.0 (before the data)."""
        real = _decimal(pax.get(b"GNU.sparse.realsize", pax.get(b"GNU.sparse.size", b"")))
        if b"GNU.sparse.name" in pax:
            member.name = pax[b"GNU.sparse.name"]
        if pax.get(b"GNU.sparse.major") == b"1":
            numbers = self._map_before_data(member)
        else:
            numbers = [_decimal(it) for it in pax.get(b"GNU.sparse.map", b"").split(b",") if it]
        if len(numbers) % 2 or len(numbers) > 2 * MAX_SPARSE:
            raise bad(f"the map of the sparse file {member.name!r} is wrong")
        self._set_sparse(member, list(zip(numbers[::2], numbers[1::2], strict=True)), real)

    def _map_before_data(self, member: Member) -> list[int]:
        text = b""
        count = None
        while count is None or text.count(b"\n") < 2 * count + 1:
            block = self._read(BLOCK) if self._left >= BLOCK else b""
            if len(block) != BLOCK or len(text) > MAX_HEADER:
                raise bad(f"the map of the sparse file {member.name!r} has no end")
            self._left -= BLOCK
            text += block
            if count is None and b"\n" in text:
                count = _decimal(text.split(b"\n", 1)[0])
                if count > MAX_SPARSE:
                    raise bad(f"the sparse file {member.name!r} has {count} pieces")
        member.size = self._left
        return [_decimal(line) for line in text.split(b"\n")[1 : 2 * count + 1]]

    def _set_sparse(self, member: Member, found: list[tuple[int, int]], real: int) -> None:
        at = total = 0
        for offset, size in found:
            if offset < at or size < 0:
                raise bad(f"the pieces of the sparse file {member.name!r} overlap")
            at = offset + size
            total += size
        if total != member.size or at > real:
            raise bad(f"the pieces of the sparse file {member.name!r} do not fit its size")
        if real > self._sparse_limit:
            raise bad(f"the sparse file {member.name!r} claims {real} bytes")
        member.sparse = found
        member.real_size = real


def _check(block: bytes) -> None:
    try:
        wanted = int(block[148:156].strip(b" \0") or b"0", 8)
    except ValueError:
        wanted = -1
    if wanted != sum(block) - sum(block[148:156]) + 8 * 0x20:
        raise bad("the checksum of a header is wrong")


def _name(block: bytes) -> bytes:
    name = block[:100].split(b"\0", 1)[0]
    # "ustar\0" is POSIX's; GNU's "ustar " keeps other things in the prefix.
    if block[257:263] == b"ustar\0" and block[345]:
        return block[345:500].split(b"\0", 1)[0] + b"/" + name
    return name


def _number(field: bytes, what: str) -> int:
    """Return a number in octal digits or, for what is too large for them, GNU's base 256."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big", signed=field[0] == 0xFF)
        value = value if field[0] == 0xFF else value - (0x80 << 8 * (len(field) - 1))
        if not -(1 << 63) <= value < 1 << 63:
            raise bad(f"the {what} of an entry is out of range")
        return value
    digits = field.strip(b" \0")
    try:
        # int() takes underscores and signs, too.
        if digits.isdigit():
            return int(digits, 8)
    except ValueError:
        pass
    if digits:
        raise bad(f"the {what} {digits!r} of an entry is no number")
    return 0


def _decimal(text: bytes) -> int:
    if not _DECIMAL.fullmatch(text) or int(text) >= 1 << 63:
        raise bad(f"{text[:40]!r} is no number")
    return int(text)


def _records(data: bytes) -> dict[bytes, bytes]:
    """Return the records of a PAX header: their length, a key and a value each."""
    found: dict[bytes, bytes] = {}
    pairs: list[bytes] = []
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 12)
        length = data[at:space] if space > 0 else b""
        if not _DECIMAL.fullmatch(length):
            raise bad("a PAX header has no length")
        end = at + int(length)
        if end <= space + 1 or end > len(data) or data[end - 1 : end] != b"\n":
            raise bad("the length of a PAX header is wrong")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or not key:
            raise bad("a PAX header has no value")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            pairs.append(value)  # format 0.0 repeats them
        found[key] = value
        at = end
    if pairs:
        found[b"GNU.sparse.map"] = b",".join(pairs)
    return found


def _apply(member: Member, pax: dict[bytes, bytes]) -> None:
    for key, value in pax.items():
        if key == b"path":
            member.name = value
        elif key == b"linkpath":
            member.link = value
        elif key == b"size":
            member.size = _decimal(value)
        elif key == b"uid":
            member.uid = _decimal(value)
        elif key == b"gid":
            member.gid = _decimal(value)
        elif key == b"mtime":
            member.mtime_ns = _time_ns(value)
        elif key.startswith(_XATTR):
            member.xattrs[key[len(_XATTR) :]] = value


def _time_ns(text: bytes) -> int:
    match = _TIME.fullmatch(text)
    if match is None:
        raise bad(f"{text[:40]!r} is no time")
    sign, seconds, fraction = match.groups()
    ns = int(seconds) * 1_000_000_000 + int((fraction or b"").ljust(9, b"0")[:9])
    return -ns if sign else ns


def _old_entries(data: bytes) -> list[tuple[int, int]]:
    found = []
    for at in range(0, len(data) - 23, 24):
        if data[at] == 0:
            break
        found.append((_number(data[at : at + 12], "offset"), _number(data[at + 12 : at + 24], "size")))  # noqa: E501  # fmt: skip
    return found


def clean(name: bytes, what: str = "name") -> tuple[bytes, ...]:
    """Return the components of an entry's name; none of them is the root.

    Raises:
        HostError: for ``..``, a NUL, an empty or an over-long name.
    """
    if not name or b"\0" in name or len(name) >= MAX_PATH:
        raise bad(f"an entry's {what} {name[:80]!r} is empty, too long, or has a NUL")
    parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
    if b".." in parts:
        raise bad(f"an entry's {what} {name[:200]!r} leaves the archive")
    if any(len(part) > 255 for part in parts):
        raise bad(f"a component of the {what} {name[:80]!r} is too long")
    return parts
