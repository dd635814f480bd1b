"""The tree that the loader's passes work on: YAML nodes that know where they were written.

Passes share nodes and never change one they did not make: a changed value is a new node, so a
service that was merged, extended or included still tells the file and line of each value.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Node: TypeAlias = "Scalar | Mapping | Sequence"
    Value: TypeAlias = "str | int | float | bool | None"


class Place:
    """Where something was written. `line` and `column` count from 1; 0 means no line."""

    __slots__ = ("column", "file", "line")

    def __init__(self, file: str, line: int, column: int) -> None:
        self.file = file
        self.line = line
        self.column = column

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def __repr__(self) -> str:
        return f"Place({self})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and (self.file, self.line, self.column) == (
            other.file, other.line, other.column
        )  # fmt: skip

    def __hash__(self) -> int:
        return hash((self.file, self.line, self.column))


NOWHERE = Place("", 0, 0)


class Scalar:
    """A leaf. `origin` says how the value came about when it was not written as it stands.

    `origin` is None for a written value, ``"default"`` for one that the loader filled in, and
    ``"variable A, B"`` for one in which variables were replaced.
    """

    __slots__ = ("origin", "place", "tag", "value")

    def __init__(
        self, value: Value, place: Place = NOWHERE, tag: str | None = None,
        origin: str | None = None,
    ) -> None:  # fmt: skip
        self.value = value
        self.place = place
        self.tag = tag
        self.origin = origin

    def __repr__(self) -> str:
        return f"Scalar({self.value!r})"


class Mapping:
    """A mapping with string keys. `keys` has the place of each key that was written."""

    __slots__ = ("items", "keys", "place", "tag")

    def __init__(
        self, items: dict[str, Node], place: Place = NOWHERE,
        keys: dict[str, Place] | None = None, tag: str | None = None,
    ) -> None:  # fmt: skip
        self.items = items
        self.place = place
        self.keys: dict[str, Place] = {} if keys is None else keys
        self.tag = tag

    def __repr__(self) -> str:
        return f"Mapping({self.items!r})"

    def get(self, key: str) -> Node | None:
        """Return the value of `key`, or None when there is none."""
        return self.items.get(key)

    def key_place(self, key: str) -> Place:
        """Return where `key` was written; else where its value or the mapping was."""
        place = self.keys.get(key)
        if place is not None:
            return place
        item = self.items.get(key)
        return item.place if item is not None and item.place.line else self.place

    def value(self, key: str) -> Any:
        """Return the plain value of the scalar under `key`, or None."""
        item = self.items.get(key)
        return item.value if isinstance(item, Scalar) else None


class Sequence:
    """A list of nodes."""

    __slots__ = ("items", "place", "tag")

    def __init__(self, items: list[Node], place: Place = NOWHERE, tag: str | None = None) -> None:
        self.items = items
        self.place = place
        self.tag = tag

    def __repr__(self) -> str:
        return f"Sequence({self.items!r})"


def plain(node: Node) -> Any:
    """Return `node` as plain Python values."""
    if isinstance(node, Mapping):
        return {key: plain(item) for key, item in node.items.items()}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return node.value


def from_plain(value: Any, place: Place = NOWHERE, origin: str | None = "default") -> Node:
    """Return nodes for plain values, all with the same place and origin."""
    if isinstance(value, dict):
        return Mapping({key: from_plain(item, place, origin) for key, item in value.items()}, place)
    if isinstance(value, list):
        return Sequence([from_plain(item, place, origin) for item in value], place)
    return Scalar(value, place, None, origin)


def copy(node: Node) -> Node:
    """Return a tree of new nodes, so that one may be changed without the other."""
    if isinstance(node, Mapping):
        items = {key: copy(item) for key, item in node.items.items()}
        return Mapping(items, node.place, dict(node.keys), node.tag)
    if isinstance(node, Sequence):
        return Sequence([copy(item) for item in node.items], node.place, node.tag)
    return Scalar(node.value, node.place, node.tag, node.origin)
