"""Merges two trees key by key, as the reference does (override/merge.go).

Mappings merge, lists append, everything else is replaced; the table names the exceptions. Lists
that must not repeat are made unique afterwards (`gocker.spec.unique`).
"""

from __future__ import annotations

from gocker.spec.nodes import Mapping, Scalar, Sequence
from gocker.spec.units import format_float

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gocker.spec.nodes import Node
    from gocker.spec.problems import Problems

    Rule = Callable[["Merger", Node, Node, str, "dict[str, Any]"], Node]


class Merger:
    """Merges; a mismatch of types goes into `problems` and keeps the base value."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems

    def project(self, base: Mapping, other: Mapping) -> Mapping:
        """Return `base` with the document `other` laid over it."""
        return self.mappings(base, other, "", RULES)

    def service(self, base: Mapping, other: Mapping, path: str) -> Mapping:
        """Return `base` with the service `other` laid over it, for extends."""
        return self.mappings(base, other, path, SERVICE_RULES)

    def resource(self, base: Node, other: Node, kind: str, path: str) -> Node:
        """Return one service, volume ... with `other` laid over it, for include."""
        rules: dict[str, Any] = RULES.get(kind, {})
        return self.nodes(base, other, path, rules.get("*", {}))

    def nodes(self, base: Node, other: Node, path: str, rules: dict[str, Any]) -> Node:
        """Return `base` with `other` laid over it by the rules for `path`."""
        rule: Rule | None = rules.get("")
        if rule is not None:
            return rule(self, base, other, path, rules)
        if isinstance(other, Scalar) and other.value is None:
            return base
        if isinstance(base, Mapping):
            if isinstance(other, Mapping):
                return self.mappings(base, other, path, rules)
        elif isinstance(base, Sequence):
            if isinstance(other, Sequence):
                return Sequence(base.items + other.items, other.place)
        else:
            return other
        return self.mismatch(base, other, path)

    def mismatch(self, base: Node, other: Node, path: str) -> Node:
        """Note that two values cannot merge; return the first."""
        self.problems.add(
            other.place, path,
            f"cannot override {_KINDS[type(base)]} with {_KINDS[type(other)]}",
            f"the first one is at {base.place}",
        )  # fmt: skip
        return base

    def mappings(self, base: Mapping, other: Mapping, path: str, rules: dict[str, Any]) -> Mapping:
        """Return two mappings merged key by key."""
        items = dict(base.items)
        keys = {**other.keys, **base.keys}
        star = rules.get("*", _NONE)
        for key, new in other.items.items():
            old = items.get(key)
            if old is None:
                items[key] = new
            else:
                below = f"{path}.{key}" if path else key
                items[key] = self.nodes(old, new, below, rules.get(key, star))
        return Mapping(items, base.place, keys)


_NONE: dict[str, Any] = {}
_KINDS = {Mapping: "a mapping", Sequence: "a list", Scalar: "a value"}


def _replace(_m: Merger, _base: Node, other: Node, _path: str, _rules: dict[str, Any]) -> Node:
    return other


def _append(merger: Merger, base: Node, other: Node, path: str, _rules: dict[str, Any]) -> Node:
    _told(merger, path, base, other, wanted=str)
    return Sequence(to_sequence(base) + to_sequence(other), other.place)


def _hosts(merger: Merger, base: Node, other: Node, path: str, _rules: dict[str, Any]) -> Node:
    _told(merger, path, base, other, wanted=str)
    first = to_sequence(base)
    known = {item.value for item in first if isinstance(item, Scalar)}
    return Sequence(
        first + [
            item for item in to_sequence(other)
            if not (isinstance(item, Scalar) and item.value in known)
        ],
        other.place,
    )  # fmt: skip


def _logging(merger: Merger, base: Node, other: Node, path: str, rules: dict[str, Any]) -> Node:
    """Options merge only with the same driver, or where one side names none."""
    if not (isinstance(base, Mapping) and isinstance(other, Mapping)):
        return base if isinstance(other, Scalar) and other.value is None else other
    one, two = base.get("driver"), other.get("driver")
    if one is None or two is None or base.value("driver") == other.value("driver"):
        return merger.mappings(base, other, path, rules)
    return other


def _build(merger: Merger, base: Node, other: Node, path: str, rules: dict[str, Any]) -> Node:
    def widened(node: Node) -> Mapping:
        if isinstance(node, Sequence):
            merger.problems.add(node.place, path, "must be a mapping or string")
        _told(merger, path, node, wanted=str)
        if isinstance(node, Mapping):
            return node
        known = isinstance(node, Scalar) and isinstance(node.value, str)
        return Mapping({"context": node} if known else {}, node.place)

    return merger.mappings(widened(base), widened(other), path, rules)


def _depends_on(merger: Merger, base: Node, other: Node, path: str, rules: dict[str, Any]) -> Node:
    _told_names(merger, path, base, other)
    return merger.mappings(dependencies(base), dependencies(other), path, rules)


def _names(merger: Merger, base: Node, other: Node, path: str, rules: dict[str, Any]) -> Node:
    _told_names(merger, path, base, other)
    return merger.mappings(names(base), names(other), path, rules)


def _told(merger: Merger, path: str, *nodes: Node, wanted: type | None = None) -> None:
    """Note a value that a merge would drop, as the reference does without a word."""
    for node in nodes:
        if isinstance(node, Scalar) and node.value is not None and type(node.value) is not wanted:
            texts = ", list or string" if wanted else " or list"
            merger.problems.add(node.place, path, f"must be a mapping{texts}")


def _told_names(merger: Merger, path: str, *nodes: Node) -> None:
    _told(merger, path, *nodes)
    for node in nodes:
        for index, item in enumerate(node.items if isinstance(node, Sequence) else ()):
            if not (isinstance(item, Scalar) and isinstance(item.value, str)):
                merger.problems.add(item.place, f"{path}[{index}]", "must be a string")


def dependencies(node: Node) -> Mapping:
    """Return ``depends_on`` as a mapping; the short form means started and required."""
    wide = names(node)
    if isinstance(node, Sequence):
        for name, item in wide.items.items():
            wide.items[name] = Mapping(
                {
                    "condition": Scalar("service_started", item.place, None, "default"),
                    "required": Scalar(True, item.place, None, "default"),
                },
                item.place,
            )
    return wide


def names(node: Node) -> Mapping:
    """Return a list of names as a mapping of nulls; a mapping as it is; else nothing."""
    if isinstance(node, Mapping):
        return node
    made = Mapping({}, node.place)
    for item in node.items if isinstance(node, Sequence) else ():
        if isinstance(item, Scalar) and isinstance(item.value, str):
            made.items[item.value] = Scalar(None, item.place)
            made.keys[item.value] = item.place
    return made


def _ipam(merger: Merger, base: Node, other: Node, path: str, _rules: dict[str, Any]) -> Node:
    """Pools with the same subnet merge; the reference's order of the rest is kept."""
    if not (isinstance(base, Sequence) and isinstance(other, Sequence)):
        return merger.mismatch(base, other, path)
    pools: list[Mapping] = []

    def index(subnet: Any) -> int | None:
        return next((i for i, pool in enumerate(pools) if pool.value("subnet") == subnet), None)

    for original in base.items:
        right = names(original)
        for override in other.items:
            left = names(override)
            subnet = left.value("subnet")
            if subnet != right.value("subnet") and index(subnet) is None:
                pools.append(left)
                continue
            right = merger.mappings(right, left, path, _NONE)
            at = index(right.value("subnet"))
            if at is None:
                pools.append(right)
            else:
                pools[at] = right
    return Sequence(list(pools), other.place)


def to_sequence(node: Node) -> list[Node]:
    """Return a mapping as sorted ``key=value`` texts, a list's items, or one text as a list."""
    if isinstance(node, Sequence):
        return node.items
    if isinstance(node, Scalar):
        return [node] if isinstance(node.value, str) else []
    made: list[Scalar] = []
    for key, item in node.items.items():
        if isinstance(item, Scalar):
            text = key if item.value is None else f"{key}={text_of(item.value)}"
            made.append(Scalar(text, item.place, None, item.origin))
        elif isinstance(item, Sequence):
            made += (
                Scalar(f"{key}={text_of(one.value)}", one.place)
                for one in item.items
                if isinstance(one, Scalar)
            )
    made.sort(key=lambda item: str(item.value))
    return list(made)


def text_of(value: Any) -> str:
    """Return a scalar as Go's ``fmt.Sprint`` prints it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format_float(value)
    return "<nil>" if value is None else str(value)


_REPLACE, _APPEND = {"": _replace}, {"": _append}
SERVICE_RULES: dict[str, Any] = {
    **dict.fromkeys(("command", "entrypoint"), _REPLACE),
    **dict.fromkeys((
        "annotations", "dns", "dns_opt", "dns_search", "env_file", "label_file", "environment",
        "labels", "sysctls", "tmpfs",
    ), _APPEND),
    "build": {
        "": _build,
        **dict.fromkeys(("args", "additional_contexts", "labels"), _APPEND),
        "extra_hosts": {"": _hosts},
    },
    "depends_on": {"": _depends_on},
    "deploy": {"labels": _APPEND},
    "extra_hosts": {"": _hosts},
    "healthcheck": {"test": _REPLACE},
    "logging": {"": _logging},
    "models": {"": _names},
    "networks": {"": _names},
    "ulimits": {"*": _REPLACE},
}  # fmt: skip
RULES: dict[str, Any] = {
    "services": {"*": SERVICE_RULES},
    "jobs": {"*": SERVICE_RULES},
    "networks": {"*": {"ipam": {"config": {"": _ipam}}, "labels": _APPEND}},
    "volumes": {"*": {"labels": _APPEND}},
}
