"""Plan <-> JSON values, exactly: what `decode` returns is equal to what `encode` was given.

A value of `gocker.plan.model` is a list of its class's name and its fields; other things than
JSON's are lists that begin with ``()`` (tuple), ``{}`` (frozenset), ``[]`` (list) or ``:``
(dict with such things inside). OCI parts are JSON already and stay as they are, but the parts
that many containers share are kept once: they have to be the same object afterwards, because
the scheduler sends each object once.
"""

from __future__ import annotations

from gocker.plan import model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SHARED_LINUX = ("seccomp", "maskedPaths", "readonlyPaths", "sysctl")
_CLASSES = {
    name: item
    for name, item in vars(model).items()
    if isinstance(item, type) and item.__module__ == model.__name__
}
_NETWORK = "gocker.network.model"


def encode(plan: model.Plan) -> dict[str, Any]:
    """Return a plan as JSON values.

    Raises:
        TypeError: if something in it has no JSON form.
    """
    shared: list[Any] = []
    found = _Encoder(shared).value(plan)
    return {"plan": found, "shared": shared}


def decode(stored: dict[str, Any]) -> model.Plan:
    """Return the plan that `encode` was given.

    Raises:
        KeyError, TypeError, ValueError, IndexError, AttributeError: if it is no such value.
    """
    plan = _decode(stored["plan"], stored["shared"])
    if not isinstance(plan, model.Plan):
        raise TypeError("not a plan")
    return plan


def part(stored: dict[str, Any], field: str, key: str) -> Any:
    """Return one entry of a plan's dictionary `field`, without decoding the rest.

    Raises:
        KeyError, TypeError, ValueError, IndexError: if there is none, or it is no such value.
    """
    tag, *fields = stored["plan"]
    if tag != "Plan":
        raise TypeError("not a plan")
    entries = fields[model.Plan.__match_args__.index(field)]
    return _decode(entries[1][key], stored["shared"])


class _Encoder:
    def __init__(self, shared: list[Any]) -> None:
        self._shared = shared
        self._places: dict[int, int] = {}

    def value(self, value: Any) -> Any:
        kind = type(value)
        if value is None or kind in (str, int, float, bool):
            return value
        if kind is model.Container:
            fields = {name: getattr(value, name) for name in value.__match_args__}
            rest = [self.value(item) for name, item in fields.items() if name != "config"]
            return ["Container", self._config(value.config), *rest]
        if kind is tuple:
            return ["()", *map(self.value, value)]
        if kind is frozenset:
            return ["{}", *sorted(map(self.value, value))]
        if kind is list:
            return ["[]", *map(self.value, value)]
        if kind is dict:
            return [":", {_text(key): self.value(item) for key, item in value.items()}]
        if kind.__name__ in _CLASSES or kind.__module__ == _NETWORK:
            return [kind.__name__, *(self.value(getattr(value, n)) for n in value.__match_args__)]
        raise TypeError(f"{kind.__name__} has no JSON form")

    def _config(self, config: Any) -> Any:
        """Return a configuration with the places of its shared parts instead of the parts."""
        linux = dict(config["linux"])
        found = {**config, "linux": linux}
        places = [
            [name, self._place(part.pop(name))]
            for part, names in ((linux, SHARED_LINUX), (found, ("mounts",)))
            for name in names
            if name in part
        ]
        return [found, places]

    def _place(self, part: Any) -> int:
        if id(part) not in self._places:
            self._places[id(part)] = len(self._shared)
            self._shared.append(part)
        return self._places[id(part)]


def _text(key: object) -> str:
    if type(key) is not str:
        raise TypeError(f"{key!r} cannot be a key in JSON")
    return key


def _decode(value: Any, shared: list[Any]) -> Any:
    if type(value) is not list:
        return value
    tag, *items = value
    if tag == ":":
        return {key: _decode(item, shared) for key, item in items[0].items()}
    if tag == "Container":
        rest = [_decode(item, shared) for item in items[1:]]
        config, places = items[0]
        return model.Container(_joined(config, places, shared), *rest)
    found = [_decode(item, shared) for item in items]
    if tag == "()":
        return tuple(found)
    if tag == "[]":
        return found
    return frozenset(found) if tag == "{}" else _class(tag)(*found)


def _class(name: str) -> Any:
    """Return a class of the plan; that of its networks is imported when there are some."""
    if name in _CLASSES:
        return _CLASSES[name]
    from gocker.network import model as network

    found = vars(network)[name]
    if getattr(found, "__module__", "") != _NETWORK:
        raise KeyError(name)
    return found


def _joined(config: Any, places: list[list[Any]], shared: list[Any]) -> Any:
    for name, place in places:
        part = config if name == "mounts" else config["linux"]
        part[name] = shared[place]
    return config
