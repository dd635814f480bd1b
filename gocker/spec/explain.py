"""Where each value of a loaded project comes from, and which variables its files mention."""

from __future__ import annotations

from gocker.spec.load import Loaded, LoadOptions, load
from gocker.spec.nodes import Mapping, Scalar, Sequence, join_path
from gocker.spec.template import Variable, variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from gocker.spec.nodes import Node, Place


class Origin:
    """One value: its path, its place, and how it came about.

    `source` is ``written``, ``default``, ``variable NAME``, or ``implied`` for what no node
    stands for (a value from an env_file, an empty command).
    """

    __slots__ = ("path", "place", "source", "value")

    def __init__(self, path: str, value: Any, place: Place, source: str) -> None:
        self.path = path
        self.value = value
        self.place = place
        self.source = source


def explain(loaded: Loaded) -> list[Origin]:
    """Return the origin of every single value of the canonical model, in its order."""
    return list(_walk(loaded.model, loaded.root, (), loaded))


def _walk(
    value: Any, node: Node | None, parts: tuple[str | int, ...], loaded: Loaded
) -> Iterator[Origin]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _walk(item, _below(node, key), (*parts, key), loaded)
    elif isinstance(value, list) and value and not isinstance(node, Scalar):
        for index, item in enumerate(value):
            yield from _walk(item, _below(node, index), (*parts, index), loaded)
    else:
        source = "implied" if node is None else getattr(node, "origin", None) or "written"
        yield Origin(join_path(parts), value, loaded.place(parts), source)


def _below(node: Node | None, key: str | int) -> Node | None:
    if isinstance(node, Mapping):
        return node.get(str(key))
    if not isinstance(node, Sequence):
        return None
    if isinstance(key, int):
        return node.items[key] if key < len(node.items) else None
    for item in node.items:
        value = item.value if isinstance(item, Scalar) else None
        if isinstance(value, str) and value.partition("=")[0] == key:
            return item
    return None


def used_variables(options: LoadOptions) -> list[Variable]:
    """Return the variables that the files mention, each name once, sorted.

    Loads the files without interpolation; `options` is left as it was.

    Raises:
        SpecError: as `load`.
    """
    import copy

    plain_options = copy.copy(options)
    plain_options.interpolate = False
    found: dict[str, Variable] = {}
    _variables(load(plain_options).model, found)
    return [found[name] for name in sorted(found)]


def _variables(value: Any, found: dict[str, Variable]) -> None:
    if isinstance(value, str):
        for one in variables(value):
            found[one.name] = one
    elif isinstance(value, dict):
        for item in value.values():
            _variables(item, found)
    elif isinstance(value, list):
        for item in value:
            _variables(item, found)
