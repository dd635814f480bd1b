"""Makes the paths of a project absolute, or relative to the project directory (paths/)."""

from __future__ import annotations

import posixpath

from gocker.spec.nodes import Mapping, Scalar, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.spec.nodes import Node
    from gocker.spec.problems import Problems

_REMOTE = ("https://", "http://", "git://", "ssh://", "github.com/", "git@", "service:")


class Resolver:
    """Resolves paths against `base`; `home` is what ``~`` stands for, None if unknown."""

    def __init__(self, base: str, home: str | None, problems: Problems) -> None:
        self.base = base
        self.home = home
        self.problems = problems

    def absolute(self, path: str) -> str:
        """Return `path` below the base; an absolute one unchanged."""
        path = self.expand_user(path)
        return path if path.startswith("/") else join(self.base, path)

    def expand_user(self, path: str) -> str:
        """Replace a leading ``~`` with the home directory."""
        if not path.startswith("~"):
            return path
        if self.home is None:
            self.problems.warn("cannot expand '~', because the environment lacks HOME")
            return path
        return join(self.home, path[1:].lstrip("/"))

    def project(self, project: Mapping) -> Mapping:
        """Return the project with its paths resolved."""
        return self._keys(project, _PROJECT, "")

    def _keys(self, node: Mapping, rules: dict[str, Any], path: str) -> Mapping:
        changed: dict[str, Node] = {}
        star = rules.get("*")
        for key, item in node.items.items():
            rule = rules.get(key, star)
            if rule is not None:
                new = self._apply(item, rule, f"{path}.{key}" if path else key)
                if new is not item:
                    changed[key] = new
        if not changed:
            return node
        return Mapping({**node.items, **changed}, node.place, node.keys, node.tag)

    def _apply(self, node: Node, rule: Any, path: str) -> Node:
        if not isinstance(rule, dict):
            made: Node = rule(self, node, path)
            return made
        if isinstance(node, Mapping):
            return self._keys(node, rule, path)
        below = rule.get("[]")
        if isinstance(node, Sequence) and below is not None:
            items = [self._apply(item, below, f"{path}[{i}]") for i, item in enumerate(node.items)]
            return Sequence(items, node.place, node.tag)
        return node


def join(base: str, path: str) -> str:
    """Return Go's ``filepath.Join``: cleaned, and empty parts left out."""
    joined = f"{base}/{path}" if base and path else base or path
    if not joined:
        return ""
    made = posixpath.normpath(joined)
    return made[1:] if made.startswith("//") else made


def _path(resolver: Resolver, node: Node, _where: str) -> Node:
    """A path; an empty one stays empty."""
    if isinstance(node, Scalar) and isinstance(node.value, str) and node.value:
        return _changed(node, resolver.absolute(node.value))
    return node


def _changed(node: Scalar, value: str) -> Scalar:
    return node if value == node.value else Scalar(value, node.place, node.tag, node.origin)


def _file(resolver: Resolver, node: Node, _where: str) -> Node:
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return _changed(node, resolver.absolute(node.value))
    return node


def _context(resolver: Resolver, node: Node, path: str) -> Node:
    value = node.value if isinstance(node, Scalar) else None
    if isinstance(value, str) and ("://" in value or value.startswith(_REMOTE)):
        return node
    return _path(resolver, node, path)


def _volume(resolver: Resolver, node: Node, path: str) -> Node:
    if not isinstance(node, Mapping) or node.value("type") != "bind":
        return node
    source = node.get("source")
    if source is None:
        resolver.problems.add(node.place, path, "a bind mount needs a source")
        return node
    items = {**node.items, "source": _file(resolver, source, path)}
    return Mapping(items, node.place, node.keys, node.tag)


def _driver_opts(resolver: Resolver, node: Node, path: str) -> Node:
    """The local driver's ``o: bind`` is a bind mount of ``device``."""
    options = node.get("driver_opts") if isinstance(node, Mapping) else None
    if not isinstance(options, Mapping) or not isinstance(node, Mapping):
        return node
    device = options.get("device")
    if node.value("driver") != "local" or options.value("o") != "bind" or device is None:
        return node
    made = {**options.items, "device": _file(resolver, device, path)}
    changed = Mapping(made, options.place, options.keys, options.tag)
    return Mapping({**node.items, "driver_opts": changed}, node.place, node.keys, node.tag)


_SERVICE: dict[str, Any] = {
    "build": {"context": _context, "additional_contexts": {"*": _context}, "ssh": {"*": _file}},
    "env_file": {"[]": {"path": _path}},
    "label_file": {"[]": _path},
    "extends": {"file": _path},
    "develop": {"watch": {"[]": {"path": _path}}},
    "volumes": {"[]": _volume},
}
_PROJECT: dict[str, Any] = {
    "services": {"*": _SERVICE},
    "jobs": {"*": _SERVICE},
    "configs": {"*": {"file": _file}},
    "secrets": {"*": {"file": _file}},
    "volumes": {"*": _driver_opts},
}
