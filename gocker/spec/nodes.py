"""The tree that the loader's passes work on: YAML nodes that know where they were written.

Passes share nodes and never change one they did not make: a changed value is a new node, so a
service that was merged, extended or included still tells the file and line of each value.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
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


def split_path(path: str, root: Node) -> tuple[str | int, ...]:
    """Split ``services.web.ports[0]`` at its dots; keys with dots are found in `root`."""
    parts: list[str | int] = []
    node: Node | None = root
    rest = path
    while rest:
        if rest[0] == "[":
            index, _, rest = rest[1:].partition("]")
            key: str | int = int(index) if index.isdigit() else 0
        else:
            rest = rest.removeprefix(".")
            key = _first_key(rest, node)
            rest = rest[len(key) :]
            if not key:
                break
        parts.append(key)
        node = _child(node, key)
    return tuple(parts)


def _first_key(text: str, node: Node | None) -> str:
    if isinstance(node, Mapping):
        fitting = [
            key for key in node.items
            if text.startswith(key) and text[len(key) : len(key) + 1] in ("", ".", "[")
        ]  # fmt: skip
        if fitting:
            return max(fitting, key=len)
    end = min((text.find(char) for char in ".[" if char in text), default=len(text))
    return text[:end]


def _child(node: Node | None, key: str | int) -> Node | None:
    if isinstance(node, Mapping):
        return node.items.get(str(key))
    if isinstance(node, Sequence):
        if isinstance(key, int) and key < len(node.items):
            return node.items[key]
        for item in node.items:
            # Lists of KEY=value are mappings in the model.
            value = item.value if isinstance(item, Scalar) else None
            if isinstance(value, str) and value.partition("=")[0] == key:
                return item
    return None


def place_of(root: Node, parts: tuple[str | int, ...]) -> Place:
    """Return where the value at `parts` is, or the nearest parent that was written."""
    node: Node = root
    place = root.place
    for index, part in enumerate(parts):
        below = _child(node, part)
        if below is None:
            break
        last = index == len(parts) - 1
        if isinstance(node, Mapping) and not (last and not isinstance(below, Mapping)):
            place = node.key_place(str(part))
        elif below.place.line:
            place = below.place
        node = below
    return place


def join_path(parts: Iterable[str | int]) -> str:
    """Return ``services.web.ports[0]`` for its parts."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
