"""What a run's ``run.jsonl`` tells, as far as it is sound. `gocker.log` writes it."""

from __future__ import annotations

import os
import stat

from gocker import events, jsontext
from gocker.errors import HostError
from gocker.report.human import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from typing import Any

    Record = dict[str, Any]

_INFINITE = float("inf")


def read(
    path: str, *, dir_fd: int | None = None, wanted: Container[str] | None = None
) -> Iterator[Record]:
    """Yield the records of a ``run.jsonl``, as far as they are sound.

    With `wanted` only those of such events: the others, most of them, are not even decoded.

    A last line without its newline is being written, or its writer died: it is left out. A
    line that is not a record (a damaged disk, a foreign hand) is left out too; the gap shows in
    `seq`.

    Raises:
        HostError: if the file cannot be opened, or is not a regular file.
    """
    try:
        fd = os.open(
            path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd
        )
    except OSError as err:
        raise HostError(f"cannot read {safe(path)!r}: {err.strerror}") from err
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise HostError(f"cannot read {safe(path)!r}: not a regular file")
    with open(fd, "rb") as file:
        for line in file:
            if wanted is not None and _event_of(line) not in wanted:
                continue
            record = parse(line)
            if record is not None:
                yield record


def _event_of(line: bytes) -> str:
    """Return the name in a line that `gocker.log` wrote: the envelope is first in it."""
    _, found, rest = line.partition(b'"event":"')
    return rest[: rest.find(b'"')].decode("ascii", "replace") if found else ""


def parse(line: bytes) -> Record | None:
    """Return the record in one line, or None if it has not all of its fields in their types."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = jsontext.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    # Most records of an event are alike: what was sound is, but for a number that is none.
    shape = (str(record.get("event")), tuple(record), tuple(map(type, record.values())))
    if shape not in _sound:
        if not _is_sound(record):
            return None
        _sound.add(shape)
    for value in record.values():
        if type(value) is float and not -_INFINITE < value < _INFINITE:
            return None
    return record


_sound: set[tuple[object, ...]] = set()


def _is_sound(record: Record) -> bool:
    """Return whether a record has all of its event's fields, in their types, and no other."""
    kinds = _kinds(str(record.get("event")))
    if kinds is None or not kinds.keys() >= record.keys():
        return False
    for key, (types, required) in kinds.items():
        value = record.get(key, _ABSENT)
        if value is _ABSENT:
            if required:
                return False
        # Not isinstance: true is an int to Python, and no number to JSON.
        elif type(value) not in types:
            return False
    return True


_ABSENT = object()
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "list": (list,),
    "object": (dict,),
}


def _types(kind: str) -> tuple[type, ...]:
    types = tuple(t for name in kind.removesuffix("?").split("|") for t in _TYPES[name])
    return (*types, type(None)) if kind.endswith("?") else types


_known: dict[str, dict[str, tuple[tuple[type, ...], bool]]] = {}


def _kinds(event: str) -> dict[str, tuple[tuple[type, ...], bool]] | None:
    """Return an event's fields with their types and whether they are required."""
    if event not in _known:
        if event not in events.EVENTS:
            return None
        fields = events.ENVELOPE | events.EVENTS[event][1]
        _known[event] = {key: (_types(it.type), it.required) for key, it in fields.items()}
    return _known[event]
