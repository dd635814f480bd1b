"""Drops repeats from lists: the later entry takes the earlier one's position.

What makes two entries the same differs by key (override/uncity.go of the reference).
"""

from __future__ import annotations

from gocker.spec.nodes import Mapping, Scalar, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gocker.spec.nodes import Node

    Index = Callable[[Node], "str | None"]


def _key(node: Node) -> str | None:
    """The part of ``KEY=value`` before the sign."""
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return node.value.partition("=")[0]
    return None


def _target(node: Node) -> str | None:
    if isinstance(node, Mapping):
        target = node.value("target")
        return target if isinstance(target, str) else None
    return short_volume_target(node.value) if isinstance(node, Scalar) else None


def short_volume_target(spec: Any) -> str | None:
    """Return the container path of ``[source:]target[:options]``."""
    if not isinstance(spec, str) or not spec:
        return None
    parts = split_spec(spec)
    return parts[1] if len(parts) > 1 else parts[0]


def split_spec(spec: str) -> list[str]:
    """Split at colons that are not inside ``${...}``."""
    if "${" not in spec:
        return spec.split(":")
    parts, depth, start = [], 0, 0
    for index, char in enumerate(spec):
        if char == "$" and spec[index + 1 : index + 2] == "{":
            depth += 1
        elif char == "}" and depth:
            depth -= 1
        elif char == ":" and not depth:
            parts.append(spec[start:index])
            start = index + 1
    return [*parts, spec[start:]]


def _device(node: Node) -> str | None:
    if isinstance(node, Mapping):
        target = node.value("target")
        return target if isinstance(target, str) else None
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return None
    parts = node.value.split(":")
    return parts[1] if len(parts) > 1 else parts[0]


def _mount(folder: str) -> Index:
    def index(node: Node) -> str | None:
        if isinstance(node, Mapping):
            target = node.value("target")
            return target if isinstance(target, str) else f"{folder}/{node.value('source')}"
        return f"{folder}/{node.value}" if isinstance(node, Scalar) else None

    return index


def _text(node: Node) -> str | None:
    return str(node.value) if isinstance(node, Scalar) else None


def _path(node: Node) -> str | None:
    value = node.value("path") if isinstance(node, Mapping) else None
    return value if isinstance(value, str) else _text(node)


def _port(node: Node) -> str | None:
    if isinstance(node, Mapping):
        if node.get("target") is None:
            return None
        # As the reference: a number never equals a text, so 8080 and "8080" are two ports.
        published = repr(node.value("published"))
        host = node.value("host_ip") or "0.0.0.0"
        protocol = node.value("protocol") or "tcp"
        return f"{host}:{published}:{node.value('target')}/{protocol}"
    return _text(node)


_KEYS = dict.fromkeys((
    "annotations", "cap_add", "cap_drop", "dns", "dns_opt", "dns_search", "environment",
    "labels", "links", "profiles", "sysctls", "tmpfs",
), _key)  # fmt: skip
# A dict below a key holds the rules one level down; "*" is any key.
_SERVICE: dict[str, Any] = {
    **_KEYS,
    "build": dict.fromkeys(("args", "additional_contexts", "platform", "tags", "labels"), _key),
    "configs": _mount(""),
    "deploy": {"labels": _key},
    "devices": _device,
    "env_file": _path,
    "expose": _text,
    "networks": {"*": {"aliases": _key, "link_local_ips": _key}},
    "ports": _port,
    "secrets": _mount("/run/secrets"),
    "volumes": _target,
}
_RULES: dict[str, Any] = {
    "services": {"*": _SERVICE},
    "jobs": {"*": _SERVICE},
    "networks": {"*": {"labels": _key, "ipam": {"options": _key}}},
}


def unique(project: Mapping) -> Mapping:
    """Return the project with its lists made unique."""
    made = _unique(project, _RULES)
    assert isinstance(made, Mapping)  # noqa: S101  # a mapping stays one
    return made


def _unique(node: Node, rules: Any) -> Node:
    if type(rules) is dict:
        return _mapping(node, rules) if isinstance(node, Mapping) else node
    return _sequence(node, rules) if isinstance(node, Sequence) and len(node.items) > 1 else node


def _mapping(node: Mapping, rules: dict[str, Any]) -> Mapping:
    changed: dict[str, Node] = {}
    star = rules.get("*")
    for key, item in node.items.items():
        rule = rules.get(key, star)
        if rule is not None and type(item) is not Scalar:
            new = _unique(item, rule)
            if new is not item:
                changed[key] = new
    if not changed:
        return node
    return Mapping({**node.items, **changed}, node.place, node.keys, node.tag)


def _sequence(node: Sequence, index: Index) -> Sequence:
    kept: list[Node] = []
    positions: dict[str, int] = {}
    for item in node.items:
        key = index(item)
        if key is None:
            kept.append(item)
        elif key in positions:
            kept[positions[key]] = item
        else:
            positions[key] = len(kept)
            kept.append(item)
    return node if len(kept) == len(node.items) else Sequence(kept, node.place, node.tag)
