"""``!reset`` and ``!override``: takes the tags out of a document and applies them to a base."""

from __future__ import annotations

from gocker.spec.nodes import Mapping, Scalar, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from gocker.spec.nodes import Node

    Path: TypeAlias = tuple[str, ...]


def take_tags(root: Mapping, *, tagged: bool = True) -> tuple[Mapping, list[Path]]:
    """Return the document without its reset values, and the paths to delete from the base.

    Nothing is done when `tagged` says that there is nothing to do.

    A value with ``!reset`` is dropped whatever it is; one with ``!override`` stays and replaces
    the base's. Items of lists are dropped from their own list only.
    """
    paths: list[Path] = []
    if not tagged:
        return root, paths
    node = _take(root, (), paths)
    return (node if isinstance(node, Mapping) else Mapping({}, root.place)), paths


def _take(node: Node, path: Path, paths: list[Path]) -> Node | None:
    if node.tag is not None:
        paths.append(path)
        if node.tag == "!reset":
            return None
        return _untagged(node)
    if isinstance(node, Scalar):
        return node
    if isinstance(node, Sequence):
        items = [_take(item, (*path, f"[{i}]"), paths) for i, item in enumerate(node.items)]
        return Sequence([item for item in items if item is not None], node.place)
    kept: dict[str, Node] = {}
    for key, item in node.items.items():
        new = _take(item, (*path, key), paths)
        if new is not None:
            kept[key] = new
    return Mapping(kept, node.place, node.keys)


def _untagged(node: Node) -> Node:
    if isinstance(node, Scalar):
        return Scalar(node.value, node.place, None, node.origin)
    if isinstance(node, Sequence):
        return Sequence(node.items, node.place)
    return Mapping(node.items, node.place, node.keys)


def delete(root: Mapping, paths: list[Path]) -> Mapping:
    """Return `root` without what stands at `paths`; a path that is not there is no error."""
    for path in paths:
        root = _delete(root, path)
    return root


def _delete(node: Mapping, path: Path) -> Mapping:
    if not path or path[0] not in node.items:
        return node
    items = dict(node.items)
    if len(path) == 1:
        del items[path[0]]
    else:
        below = items[path[0]]
        if not isinstance(below, Mapping):
            return node
        items[path[0]] = _delete(below, path[1:])
    return Mapping(items, node.place, node.keys, node.tag)
