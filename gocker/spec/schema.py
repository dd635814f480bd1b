"""Checks nodes against `gocker.spec.schema_data`: unknown keys, types, values, repeats."""

from __future__ import annotations

import re

from gocker.spec.nodes import Mapping, Scalar, Sequence, plain
from gocker.spec.problems import Near

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.spec.nodes import Node
    from gocker.spec.problems import Problems
    from gocker.spec.schema_data import Shape

# `origin` of a scalar whose interpolation failed: that was told, so its value is not judged.
BROKEN = "broken"
_KIND_NAMES = {"s": "string", "b": "boolean", "i": "integer", "n": "number", "z": "null"}
_NAME = re.compile(r"[a-zA-Z0-9._-]+")
# getrlimit(2); the reference accepts any word and the engine fails later.
_ULIMITS = frozenset((
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile",
    "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
))  # fmt: skip


def validate(node: Node, shape: Shape, path: str, problems: Problems) -> None:
    """Add to `problems` whatever of `node` does not fit `shape`."""
    if isinstance(node, Scalar):
        if (
            type(node.value) not in shape.types
            or shape.enum
            or shape.pattern
            or (shape.minimum is not None)
        ):
            _scalar(node, shape, path, problems)
    elif isinstance(node, Mapping):
        if shape.keys is not None:
            _object(node, shape, path, problems)
        elif shape.values is not None:
            _free(node, shape, shape.values, path, problems)
        elif shape.out != "plain":
            problems.add(node.place, path, f"must be {_wanted(shape)}")
    elif shape.items is not None:
        _list(node, shape, shape.items, path, problems)
    elif shape.out != "plain":
        problems.add(node.place, path, f"must be {_wanted(shape)}")


def _scalar(node: Scalar, shape: Shape, path: str, problems: Problems) -> None:
    value = node.value
    if node.origin == BROKEN:
        return
    whole = isinstance(value, float) and value.is_integer() and "i" in shape.kinds
    if type(value) not in shape.types and not whole:
        hint = "quote it" if "s" in shape.kinds and value is not None else None
        problems.add(node.place, path, f"must be {_wanted(shape)}", hint)
    elif shape.enum and value not in shape.enum:
        options = ", ".join(repr(option) for option in shape.enum)
        problems.add(
            node.place, path, f"must be one of {options}, not {value!r}",
            Near(str(value), shape.enum),
        )  # fmt: skip
    elif isinstance(value, str):
        if shape.pattern and not re.search(shape.pattern, value):
            problems.add(node.place, path, f"{value!r} does not match {shape.pattern!r}")
    elif isinstance(value, (int, float)):
        _bounds(node, value, shape, path, problems)


def _bounds(node: Scalar, value: float, shape: Shape, path: str, problems: Problems) -> None:
    if shape.minimum is not None and value < shape.minimum:
        problems.add(node.place, path, f"must be greater than or equal to {shape.minimum}")
    if shape.maximum is not None and value > shape.maximum:
        problems.add(node.place, path, f"must be less than or equal to {shape.maximum}")


def _wanted(shape: Shape) -> str:
    names = [_KIND_NAMES[letter] for letter in shape.kinds]
    if shape.keys is not None or shape.values is not None:
        names.append("mapping")
    if shape.items is not None:
        names.append("list")
    names.sort()
    text = f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
    return f"{'an' if text[0] in 'ai' else 'a'} {text}"


def _object(node: Mapping, shape: Shape, path: str, problems: Problems) -> None:
    keys = shape.keys or {}
    for key, item in node.items.items():
        known = keys.get(key)
        if known is not None:
            # Most values are scalars of the right type: no call and no path for those.
            if not (
                type(item) is Scalar and type(item.value) in known.types
                and known.minimum is None and not known.enum and known.pattern is None
            ):  # fmt: skip
                validate(item, known, f"{path}.{key}" if path else key, problems)
        elif not (shape.open or (shape.extensions and key.startswith("x-"))):
            problems.add(
                node.key_place(key), f"{path}.{key}" if path else key,
                f"unknown key {key!r}", Near(key, keys),
            )  # fmt: skip
    for key in shape.required:
        if key not in node.items:
            problems.add(node.place, path, f"missing key {key!r}")


def _free(node: Mapping, shape: Shape, values: Shape, path: str, problems: Problems) -> None:
    names = shape.names
    for key, item in node.items.items():
        if names == "name":
            if not _NAME.fullmatch(key):
                problems.add(
                    node.key_place(key), path,
                    f"invalid name {key!r}", "use letters, digits, '.', '_' and '-'",
                )  # fmt: skip
        elif names == "ulimit" and key not in _ULIMITS:
            problems.add(
                node.key_place(key), f"{path}.{key}", f"unknown ulimit {key!r}",
                Near(key, _ULIMITS),
            )  # fmt: skip
        elif not key:
            problems.add(node.key_place(key), path, "empty key")
        if not (type(item) is Scalar and type(item.value) in values.types):
            validate(item, values, f"{path}.{key}" if path else key, problems)


def _list(node: Sequence, shape: Shape, items: Shape, path: str, problems: Problems) -> None:
    for index, item in enumerate(node.items):
        if not (type(item) is Scalar and type(item.value) in items.types and not items.enum):
            validate(item, items, f"{path}[{index}]", problems)
    if shape.unique and len(node.items) > 1:
        seen: dict[Any, int] = {}
        for index, item in enumerate(node.items):
            first = seen.setdefault(_identity(item), index)
            if first != index:
                problems.add(
                    item.place, f"{path}[{index}]", f"repeats item {first}", "remove one of them"
                )


def _identity(node: Node) -> Any:
    """Return a hashable value that is equal for equal nodes; true is not 1, but "5" is 5."""
    if isinstance(node, Scalar):
        return (isinstance(node.value, bool), str(node.value))
    return repr(_sorted(plain(node)))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((key, _sorted(item)) for key, item in value.items())
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value
