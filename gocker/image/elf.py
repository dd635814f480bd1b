"""The little of an ELF file that says which other files it needs. Nothing is ever executed.

``ldd`` runs the program's own interpreter; this reads program headers and the dynamic section.
Source: elf(5), System V gABI chapter 5.
"""

from __future__ import annotations

import os
import struct

from gocker.values import dataclass

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_RPATH, _DT_RUNPATH = 1, 5, 10, 15, 29
# Real files have some ten headers, some fifty dynamic entries and names of some kilobytes.
_MAX_HEADERS, _MAX_DYNAMIC, _MAX_STRINGS = 512, 1 << 20, 16 << 20


@dataclass(frozen=True, slots=True)
class Elf:
    """What one object asks for.

    `kind` is (class, data encoding, machine): a library fits a program of the same kind.
    `rpath` and `runpath` are the raw entries, with ``$ORIGIN`` and the like.
    """

    kind: tuple[int, int, int]
    interpreter: str | None
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Segment:
    type: int
    offset: int
    address: int
    size: int


def read_elf(path: str) -> Elf | None:
    """Return what the ELF file at `path` needs, or None if it is no (sound) ELF file.

    Raises:
        OSError: if it cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _read(fd)
    except (struct.error, IndexError, ValueError, OverflowError):
        return None
    finally:
        os.close(fd)


def _read(fd: int) -> Elf | None:
    ident = os.pread(fd, 64, 0)
    if ident[:4] != b"\x7fELF" or ident[4] not in (1, 2) or ident[5] not in (1, 2):
        return None
    wide, order = ident[4] == 2, "<" if ident[5] == 1 else ">"
    (machine,) = struct.unpack_from(f"{order}H", ident, 18)
    segments = _segments(fd, ident, wide, order)
    interpreter = None
    entries: dict[int, list[int]] = {}
    for segment in segments:
        if segment.type == _PT_INTERP:
            text = os.pread(fd, min(segment.size, 4096), segment.offset)
            interpreter = os.fsdecode(text.split(b"\0")[0])
        elif segment.type == _PT_DYNAMIC:
            entries = _dynamic(fd, segment, wide, order)
    strings = _strings(fd, segments, entries)
    return Elf(
        (ident[4], ident[5], machine),
        interpreter or None,
        tuple(_string(strings, at) for at in entries.get(_DT_NEEDED, ())),
        _paths(strings, entries.get(_DT_RPATH)),
        _paths(strings, entries.get(_DT_RUNPATH)),
    )


def _segments(fd: int, header: bytes, wide: bool, order: str) -> list[_Segment]:
    table, size, count = (
        (
            *struct.unpack_from(f"{order}Q", header, 32),
            *struct.unpack_from(f"{order}HH", header, 54),
        )
        if wide
        else (
            *struct.unpack_from(f"{order}I", header, 28),
            *struct.unpack_from(f"{order}HH", header, 42),
        )
    )
    if count > _MAX_HEADERS:
        raise ValueError("too many program headers")
    data = os.pread(fd, size * count, table)
    found = []
    for at in range(0, size * count, size):
        if wide:
            kind, _, offset, address, _, length = struct.unpack_from(f"{order}IIQQQQ", data, at)
        else:
            kind, offset, address, _, length = struct.unpack_from(f"{order}IIIII", data, at)
        found.append(_Segment(kind, offset, address, length))
    return found


def _dynamic(fd: int, segment: _Segment, wide: bool, order: str) -> dict[int, list[int]]:
    """Return the dynamic entries by tag, up to DT_NULL."""
    data = os.pread(fd, min(segment.size, _MAX_DYNAMIC), segment.offset)
    entry = struct.Struct(f"{order}qQ" if wide else f"{order}iI")
    entries: dict[int, list[int]] = {}
    for tag, value in entry.iter_unpack(data[: len(data) - len(data) % entry.size]):
        if tag == 0:
            break
        entries.setdefault(tag, []).append(value)
    return entries


def _strings(fd: int, segments: list[_Segment], entries: dict[int, list[int]]) -> bytes:
    """Return the dynamic string table; DT_STRTAB is an address, the segments say where it is."""
    if _DT_STRTAB not in entries or _DT_STRSZ not in entries:
        return b""
    address, size = entries[_DT_STRTAB][0], entries[_DT_STRSZ][0]
    for segment in segments:
        if segment.type == _PT_LOAD and 0 <= address - segment.address < segment.size:
            return os.pread(fd, min(size, _MAX_STRINGS), segment.offset + address - segment.address)
    return b""


def _string(strings: bytes, at: int) -> str:
    if at >= len(strings):
        raise IndexError("name outside of the string table")
    return os.fsdecode(strings[at : strings.index(b"\0", at)])


def _paths(strings: bytes, entries: list[int] | None) -> tuple[str, ...]:
    if not entries:
        return ()
    return tuple(path for path in _string(strings, entries[0]).split(":") if path)
