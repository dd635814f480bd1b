"""Replaces variables in every value of a document and casts text where a type is wanted."""

from __future__ import annotations

from gocker.spec.nodes import Mapping, Scalar, Sequence
from gocker.spec.schema import BROKEN
from gocker.spec.template import Template, TemplateError
from gocker.spec.units import parse_float, parse_int, shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.spec.nodes import Node, Value
    from gocker.spec.problems import Problems

# The reference's loader/interpolate.go: where text becomes a number or a boolean.
# cpu_rt_* may be durations, as the specification says; those stay text here.
_SERVICE: dict[str, Any] = {
    **dict.fromkeys((
        "cpu_count", "cpu_period", "cpu_quota", "cpu_shares", "oom_score_adj", "pids_limit",
        "scale",
    ), "int"),
    **dict.fromkeys(("cpu_percent", "cpus"), "float"),
    **dict.fromkeys((
        "init", "oom_kill_disable", "privileged", "read_only", "stdin_open", "tty",
    ), "bool"),
    "depends_on": {"*": {"required": "bool", "restart": "bool"}},
    "deploy": {
        "replicas": "int",
        "update_config": {"parallelism": "int", "max_failure_ratio": "float"},
        "rollback_config": {"parallelism": "int", "max_failure_ratio": "float"},
        "restart_policy": {"max_attempts": "int"},
        "placement": {"max_replicas_per_node": "int"},
    },
    "healthcheck": {"retries": "int", "disable": "bool"},
    "ports": {"[]": {"target": "int"}},
    "ulimits": {"*": {"": "int", "hard": "int", "soft": "int"}},
    "volumes": {"[]": {"read_only": "bool", "volume": {"nocopy": "bool"}}},
}  # fmt: skip
_EXTERNAL = {"*": {"external": "bool"}}
CASTS: dict[str, Any] = {
    "services": {"*": _SERVICE},
    "jobs": {"*": _SERVICE},
    "networks": {"*": dict.fromkeys(
        ("external", "internal", "attachable", "enable_ipv4", "enable_ipv6"), "bool"
    )},
    "volumes": _EXTERNAL, "secrets": _EXTERNAL, "configs": _EXTERNAL,
}  # fmt: skip
_BOOLEANS = {
    "true": True, "y": True, "yes": True, "on": True, "false": False, "n": False, "no": False,
    "off": False,
}  # fmt: skip


class Interpolator:
    """Interpolates documents with one environment."""

    def __init__(
        self, environment: dict[str, str], problems: Problems, used: dict[str, str | None],
    ) -> None:  # fmt: skip
        self.environment = environment
        self.problems = problems
        self.used = used
        self.template = Template(environment.get)

    def document(self, root: Mapping) -> Mapping:
        """Return the document with its values replaced; nodes without change are shared."""
        node = self._node(root, CASTS, "")
        for name in self.template.unset:
            self.problems.warn(unset(name))
        assert isinstance(node, Mapping)  # noqa: S101  # a mapping stays one
        return node

    def _node(self, node: Node, casts: Any, path: str) -> Node:
        if isinstance(node, Scalar):
            return self._scalar(node, casts, path) if isinstance(node.value, str) else node
        if isinstance(node, Mapping):
            return self._mapping(node, casts, path)
        below = casts.get("[]") if type(casts) is dict else None
        items = [
            item if type(item) is Scalar and not self._concerns(item, below)
            else self._node(item, below, f"{path}[{index}]")
            for index, item in enumerate(node.items)
        ]  # fmt: skip
        if all(new is old for new, old in zip(items, node.items, strict=True)):
            return node
        return Sequence(items, node.place, node.tag)

    @staticmethod
    def _concerns(scalar: Scalar, casts: Any) -> bool:
        """Whether there is anything to do: most values have neither variable nor cast."""
        value = scalar.value
        return type(value) is str and (casts is not None or "$" in value)

    def _mapping(self, node: Mapping, casts: Any, path: str) -> Mapping:
        changed: dict[str, Node] | None = None
        known = casts if type(casts) is dict else {}
        star = known.get("*")
        for key, item in node.items.items():
            below = known.get(key, star)
            if type(item) is Scalar and not self._concerns(item, below):
                continue
            new = self._node(item, below, f"{path}.{key}" if path else key)
            if new is not item:
                if changed is None:
                    changed = dict(node.items)
                changed[key] = new
        if changed is None:
            return node
        return Mapping(changed, node.place, node.keys, node.tag)

    def _scalar(self, node: Scalar, casts: Any, path: str) -> Scalar:
        text = node.value
        assert isinstance(text, str)  # noqa: S101  # the caller looked
        origin = node.origin
        value: Value = text
        try:
            if "$" in text:
                value = text = self.template.substitute(text)
                names = self.template.used
                for name in names:
                    self.used[name] = self.environment.get(name)
                if names:
                    origin = f"variable {', '.join(dict.fromkeys(names))}"
            cast = casts.get("") if type(casts) is dict else casts
            if cast is not None:
                value = self._cast(text, cast, path)
        except ValueError as error:
            self.problems.add(node.place, path, str(error))
            return Scalar(node.value, node.place, node.tag, BROKEN)
        if value is node.value:
            return node
        return Scalar(value, node.place, node.tag, origin)

    def _cast(self, text: str, kind: str, path: str) -> Value:
        if kind == "int":
            return parse_int(text)
        if kind == "float":
            return parse_float(text)
        value = _BOOLEANS.get(text.lower())
        if value is None:
            raise ValueError(f"{shorten(text)} is not a boolean")
        if text.lower() not in ("true", "false"):
            self.problems.warn(
                f"{path}: {text!r} for boolean is not supported by YAML 1.2, use "
                f"'{str(value).lower()}'"
            )
        return value


def unset(name: str) -> str:
    """Return the warning about a variable without a value."""
    return f"The {name!r} variable is not set. Defaulting to a blank string."


def interpolate_text(text: str, environment: dict[str, str]) -> str:
    """Return one text with its variables replaced.

    Raises:
        TemplateError: as `Template.substitute`.
    """
    return Template(environment.get).substitute(text)


__all__ = ["Interpolator", "TemplateError", "interpolate_text", "unset"]
