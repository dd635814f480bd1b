"""Short syntax -> long syntax (the reference's transform/).

Works on trees that the schema may not have checked yet (files named by extends): what has the
wrong type stays as it is, for the schema to refuse.
"""

from __future__ import annotations

from gocker.spec import shortforms
from gocker.spec.merge import dependencies, names, text_of
from gocker.spec.nodes import Mapping, Scalar, Sequence, from_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gocker.spec.nodes import Node
    from gocker.spec.problems import Problems

    Form = Callable[["Canonical", Node, str], Node]

# `1-65535:1-65535` is legal; a hundred of them are an attack.
MAX_PORTS = 70_000


class Canonical:
    """Widens short forms. `lenient` leaves what cannot be read, for ``--no-interpolate``."""

    def __init__(self, problems: Problems, *, lenient: bool = False) -> None:
        self.problems = problems
        self.lenient = lenient
        self.ports = 0

    def project(self, project: Mapping) -> Mapping:
        """Return the project with every short form widened."""
        changed: dict[str, Node] = {}
        for key in ("services", "jobs"):
            services = project.get(key)
            if isinstance(services, Mapping):
                changed[key] = self._each(services, self._service, key)
        for key in ("networks", "volumes", "secrets", "configs"):
            resources = project.get(key)
            if isinstance(resources, Mapping):
                changed[key] = self._each(resources, self._external, key)
        return _with(project, changed)

    def _each(self, node: Mapping, form: Callable[[Node, str], Node], path: str) -> Mapping:
        return _with(node, {k: form(item, f"{path}.{k}") for k, item in node.items.items()})

    def _service(self, node: Node, path: str) -> Node:
        if not isinstance(node, Mapping):
            return node
        changed: dict[str, Node] = {}
        for key, item in node.items.items():
            form = _SERVICE.get(key)
            if form is not None:
                changed[key] = form(self, item, f"{path}.{key}")
        return _with(node, changed)

    def _external(self, node: Node, path: str) -> Node:
        """``external: {name: x}`` is the old way to write ``external: true`` and ``name: x``."""
        if not isinstance(node, Mapping):
            return node
        external = node.get("external")
        if not isinstance(external, Mapping):
            return node
        made = _with(node, {"external": Scalar(True, external.place)})
        name = external.get("name")
        if name is None:
            return made
        self.problems.warn(f"{path}: external.name is deprecated, set name and external: true")
        if node.get("name") is None:
            return _with(made, {"name": name})
        if node.value("name") != external.value("name"):
            self.problems.add(name.place, path, "name and external.name conflict", "only use name")
        return made

    def parsed(self, node: Scalar, path: str, read: Callable[[str], Any]) -> Node:
        """Return the nodes for a short form, or the scalar itself after noting what is wrong."""
        try:
            return from_plain(read(str(node.value)), node.place, node.origin)
        except ValueError as error:
            if not self.lenient:
                self.problems.add(node.place, path, str(error))
            return node

    def port_list(self, node: Node, path: str) -> Node:
        """Return a list of ports in the long form, ranges expanded."""
        if not isinstance(node, Sequence):
            return node
        made: list[Node] = []
        for index, item in enumerate(node.items):
            if isinstance(item, Scalar) and isinstance(item.value, (str, int)):
                if self.ports > MAX_PORTS:
                    self.problems.add(item.place, path, f"more than {MAX_PORTS} ports")
                    break
                parsed = self.parsed(item, f"{path}[{index}]", shortforms.ports)
                entries = parsed.items if isinstance(parsed, Sequence) else [parsed]
                self.ports += len(entries)
                made += entries
            elif isinstance(item, Scalar):
                self.problems.add(item.place, f"{path}[{index}]", "invalid port")
            else:
                made.append(item)
        return Sequence(made, node.place)


def _with(node: Mapping, changed: dict[str, Node]) -> Mapping:
    if all(node.items.get(key) is item for key, item in changed.items()):
        return node
    return Mapping({**node.items, **changed}, node.place, node.keys, node.tag)


def _items(form: Form) -> Form:
    """Return a form that applies `form` to each item of a list."""

    def apply(canonical: Canonical, node: Node, path: str) -> Node:
        if not isinstance(node, Sequence):
            return node
        items = [form(canonical, item, f"{path}[{i}]") for i, item in enumerate(node.items)]
        return Sequence(items, node.place, node.tag)

    return apply


def _text(read: Callable[[str], Any]) -> Form:
    """Return a form that reads a string and leaves everything else."""

    def apply(canonical: Canonical, node: Node, path: str) -> Node:
        if isinstance(node, Scalar) and isinstance(node.value, str):
            return canonical.parsed(node, path, read)
        return node

    return apply


def _volume(canonical: Canonical, node: Node, path: str) -> Node:
    """Read the short form of a volume; what has no effect is told."""
    made = _text(shortforms.volume)(canonical, node, path)
    if made is not node and isinstance(node, Scalar):
        for option in str(node.value).rpartition(":")[2].split(","):
            if option in shortforms.CONSISTENCIES:
                canonical.problems.warn(f"{path}: {option!r} has no effect, it is for macOS")
    return made


def _wrapped(key: str) -> Form:
    """Return a form that makes ``{key: text}`` of a text."""

    def apply(_canonical: Canonical, node: Node, _path: str) -> Node:
        if isinstance(node, Scalar) and isinstance(node.value, str):
            return Mapping({key: node}, node.place)
        return node

    return apply


def _list_of(_canonical: Canonical, node: Node, _path: str) -> Node:
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return Sequence([node], node.place)
    return node


def _dns(canonical: Canonical, node: Node, path: str) -> Node:
    made = _list_of(canonical, node, path)
    if isinstance(made, Sequence):
        kept = [item for item in made.items if not isinstance(item, Scalar) or item.value]
        return Sequence(kept, made.place)
    return made


def _names(_canonical: Canonical, node: Node, _path: str) -> Node:
    return names(node) if isinstance(node, Sequence) else node


def _depends_on(_canonical: Canonical, node: Node, _path: str) -> Node:
    if isinstance(node, Sequence):
        return dependencies(node)
    if not isinstance(node, Mapping):
        return node
    made: dict[str, Node] = {}
    for name, item in node.items.items():
        if isinstance(item, Mapping):
            defaults: dict[str, Node] = {
                "condition": Scalar("service_started", item.place, None, "default"),
                "required": Scalar(True, item.place, None, "default"),
            }
            made[name] = _with(item, {k: v for k, v in defaults.items() if k not in item.items})
    return _with(node, made)


def _env_file(canonical: Canonical, node: Node, path: str) -> Node:
    if not isinstance(node, Sequence):
        node = _list_of(canonical, node, path)
        if not isinstance(node, Sequence):
            return node
    made: list[Node] = []
    for item in node.items:
        wide = item
        if isinstance(item, Scalar) and isinstance(item.value, str):
            wide = Mapping({"path": item}, item.place)
        if isinstance(wide, Mapping) and "required" not in wide.items:
            wide = _with(wide, {"required": Scalar(True, item.place, None, "default")})
        made.append(wide)
    return Sequence(made, node.place)


def _gpus(_canonical: Canonical, node: Node, _path: str) -> Node:
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return from_plain([{"count": "all"}], node.place)
    return node


def _ulimits(canonical: Canonical, node: Node, path: str) -> Node:
    if isinstance(node, Mapping) and not canonical.lenient:
        for name, item in node.items.items():
            if isinstance(item, Scalar) and isinstance(item.value, str):
                canonical.problems.add(item.place, f"{path}.{name}", "must be an integer")
    return node


def _key_values(canonical: Canonical, node: Node, path: str) -> Node:
    if not isinstance(node, Sequence):
        return node
    made = Mapping({}, node.place)
    for item in node.items:
        key, equals, value = text_of(getattr(item, "value", "")).partition("=")
        if not equals and not canonical.lenient:
            canonical.problems.add(item.place, path, f"expected key=value, not {key!r}")
        made.items[key] = Scalar(value, item.place)
    return made


def _as_text(_canonical: Canonical, node: Node, _path: str) -> Node:
    if isinstance(node, Scalar) and isinstance(node.value, bool):
        return Scalar(text_of(node.value), node.place, None, node.origin)
    return node


def _keys(forms: dict[str, Form]) -> Form:
    """Return a form that applies one form per key of a mapping."""

    def apply(canonical: Canonical, node: Node, path: str) -> Node:
        if not isinstance(node, Mapping):
            return node
        changed = {}
        for key, form in forms.items():
            item = node.items.get(key)
            if item is not None:
                changed[key] = form(canonical, item, f"{path}.{key}")
        return _with(node, changed)

    return apply


_build_keys = _keys({
    "additional_contexts": _key_values, "secrets": _items(_wrapped("source")),
    "provenance": _as_text, "sbom": _as_text, "ulimits": _ulimits,
})  # fmt: skip


def _build(canonical: Canonical, node: Node, path: str) -> Node:
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return Mapping({"context": node}, node.place)
    return _build_keys(canonical, node, path)


_MOUNTS = _items(_wrapped("source"))
_SERVICE: dict[str, Form] = {
    "build": _build,
    "configs": _MOUNTS,
    "depends_on": _depends_on,
    "develop": _keys({"watch": _items(_keys({"ignore": _list_of, "include": _list_of}))}),
    "devices": _items(_text(shortforms.device)),
    "dns": _dns,
    "env_file": _env_file,
    "extends": _wrapped("service"),
    "gpus": _gpus,
    "label_file": _list_of,
    "models": _names,
    "networks": _names,
    "ports": Canonical.port_list,
    "secrets": _MOUNTS,
    "ulimits": _ulimits,
    "volumes": _items(_volume),
}
