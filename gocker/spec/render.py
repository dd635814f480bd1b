"""The canonical model as text, and the lists that ``gocker config --...`` prints."""

from __future__ import annotations

from gocker.spec.parse import number
from gocker.spec.schema_data import ANY, PROJECT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from gocker.spec.load import Loaded
    from gocker.spec.schema_data import Shape

_ORDER = ("name", "services", "jobs", "networks", "volumes", "secrets", "configs", "models")
# Words that some YAML reader takes for a boolean or null.
_WORDS = frozenset((
    "true", "false", "null", "yes", "no", "on", "off", "y", "n", "~", "", "<<", "=",
))  # fmt: skip
_PLAIN_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./$")
_PLAIN = _PLAIN_FIRST | frozenset(" :@%+=,-~(){}[]'\"*&!|<>?;^\\`#")


def json_text(model: dict[str, Any], *, interpolated: bool = True) -> str:
    """Return ``docker compose config --format json``: ``$`` doubled, so that it reads back.

    As there, nested ``x-*`` keys are left out; ``x-gocker``, which changes what runs, is not.
    With ``interpolated=False`` (``--no-interpolate``) the model is printed as it is.
    """
    import json

    shown = _stripped(_ordered(model), PROJECT, top=True) if interpolated else model
    text = json.dumps(shown, indent=2, ensure_ascii=False)
    return _printable(text.replace("$", "$$") if interpolated else text) + "\n"


def _printable(text: str) -> str:
    """Replace what is no UTF-8: the environment may hold any bytes, a document may not."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _stripped(value: Any, shape: Shape, *, top: bool = False) -> Any:
    """Leave out the extensions; names that people chose are none."""
    if isinstance(value, list):
        return [_stripped(item, shape.items or ANY) for item in value]
    if not isinstance(value, dict) or shape is ANY:
        return value
    made = {}
    for key, item in value.items():
        known = (shape.keys or {}).get(key) or shape.values
        if known is not None:
            made[key] = _stripped(item, known)
        elif top or key == "x-gocker":
            made[key] = item
    return made


def yaml_text(model: dict[str, Any], *, interpolated: bool = True) -> str:
    """Return ``docker compose config``: the model as YAML, ``$`` doubled, extensions kept."""
    lines: list[str] = []
    _mapping(_tidy(_ordered(model)) if interpolated else model, 0, lines)
    text = "\n".join(lines) + "\n"
    return text.replace("$", "$$") if interpolated else text


def _ordered(model: dict[str, Any]) -> dict[str, Any]:
    """Sort everything by key; the top level in Compose's usual order."""
    first = {key: model[key] for key in _ORDER if key in model}
    rest = {key: model[key] for key in sorted(model) if key not in first}
    return {key: _sorted(value) for key, value in {**first, **rest}.items()}


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _tidy(model: dict[str, Any]) -> dict[str, Any]:
    """Leave out what only the JSON form has: null commands, empty ``ipam`` and ``placement``."""
    made = dict(model)
    for section in ("services", "jobs"):
        if section in made:
            made[section] = {name: _tidy_service(item) for name, item in made[section].items()}
    if "networks" in made:
        made["networks"] = {
            name: {key: value for key, value in item.items() if key != "ipam" or value}
            for name, item in made["networks"].items()
        }
    return made


def _tidy_service(service: dict[str, Any]) -> dict[str, Any]:
    made = {
        key: value for key, value in service.items()
        if key not in ("command", "entrypoint") or value is not None
    }  # fmt: skip
    if "deploy" in made:
        made["deploy"] = {
            key: value for key, value in made["deploy"].items()
            if key not in ("resources", "placement") or value
        }  # fmt: skip
    return made


def _mapping(value: dict[str, Any], indent: int, lines: list[str], first: str = "") -> None:
    """Write a mapping; `first` stands before its first key (``- `` of a list)."""
    lead = first or " " * indent
    for key, item in value.items():
        _entry(f"{lead}{scalar(key)}:", item, indent, lines)
        lead = " " * indent


def _entry(head: str, item: Any, indent: int, lines: list[str]) -> None:
    if isinstance(item, dict) and item:
        lines.append(head)
        _mapping(item, indent + 2, lines)
    elif isinstance(item, list) and item:
        lines.append(head)
        _list(item, indent + 2, lines)
    elif isinstance(item, str) and _is_block(item):
        _block(head, item, indent + 2, lines)
    else:
        lines.append(f"{head} {scalar(item)}")


def _list(value: list[Any], indent: int, lines: list[str]) -> None:
    pad = " " * indent
    for item in value:
        if isinstance(item, dict) and item:
            _mapping(item, indent + 2, lines, f"{pad}- ")
        elif isinstance(item, list) and item:
            lines.append(f"{pad}-")
            _list(item, indent + 2, lines)
        elif isinstance(item, str) and _is_block(item):
            _block(f"{pad}-", item, indent + 2, lines)
        else:
            lines.append(f"{pad}- {scalar(item)}")


def _is_block(text: str) -> bool:
    """Whether a text reads well and safely as a literal block."""
    return (
        "\n" in text.rstrip("\n")
        and text[0] not in " \n"
        and text.replace("\n", "").isprintable()
        and not any(line.endswith(" ") for line in text.split("\n"))
    )


def _block(head: str, text: str, indent: int, lines: list[str]) -> None:
    body = text.rstrip("\n")
    newlines = len(text) - len(body)
    lines.append(f"{head} |{'-' if newlines == 0 else '' if newlines == 1 else '+'}")
    pad = " " * indent
    shown = (text[:-1] if newlines else text).split("\n")
    lines.extend(f"{pad}{line}" if line else "" for line in shown)


def scalar(value: Any) -> str:
    """Return a scalar as YAML on one line, quoted where another reader might see a type."""
    import json

    if isinstance(value, str):
        plain = _printable(value)
        if _is_plain(plain):
            return plain
        value = plain
    if isinstance(value, (dict, list)):
        return "{}" if isinstance(value, dict) else "[]"
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(char: str) -> str:
    """JSON leaves control characters above 127 as they are; YAML readers refuse them."""
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def _is_plain(text: str) -> bool:
    return (
        text.lower() not in _WORDS
        and text[0] in _PLAIN_FIRST
        and _PLAIN.issuperset(text)
        and ": " not in text
        and " #" not in text
        and text[-1] not in " :"
        and not text[0].isdigit()
        and isinstance(number(text) if text[0] == "." else text, str)
        and text not in ("...", ".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN")
    )


def services(loaded: Loaded) -> list[str]:
    """Return the services, each after those it depends on; cycles are cut anywhere."""
    known = loaded.model.get("services") or {}
    done: dict[str, None] = {}
    seen: set[str] = set()
    for start in sorted(known):
        todo = [(start, False)]
        while todo:
            name, ready = todo.pop()
            if ready:
                done.setdefault(name)
            elif name not in seen:
                seen.add(name)
                todo.append((name, True))
                depends = known[name].get("depends_on") or ()
                todo += [(dep, False) for dep in sorted(depends, reverse=True) if dep in known]
    return list(done)


def names(loaded: Loaded, section: str) -> list[str]:
    """Return the names in a section: ``volumes``, ``networks`` ..."""
    return sorted(loaded.model.get(section) or ())


def images(loaded: Loaded) -> list[str]:
    """Return the images of the services, each once."""
    found: set[str] = set()
    for section in ("services", "jobs"):
        for service in (loaded.model.get(section) or {}).values():
            if service.get("image"):
                found.add(service["image"])
            found.update(hook["image"] for hook in service.get("pre_start") or () if
                         hook.get("image"))  # fmt: skip
    return sorted(found)


def profiles(loaded: Loaded) -> list[str]:
    """Return every profile that a service mentions, enabled or not."""
    everyone: Iterable[dict[str, Any]] = [
        *(loaded.model.get("services") or {}).values(), *loaded.disabled.values(),
    ]  # fmt: skip
    return sorted({profile for service in everyone for profile in service.get("profiles") or ()})


def environment(loaded: Loaded) -> list[str]:
    """Return ``NAME=value`` of the variables for interpolation."""
    return sorted(f"{name}={value}" for name, value in loaded.environment.items())


# What changes without the containers having to be made anew (pkg/compose/hash.go).
_NOT_HASHED = frozenset(("build", "pull_policy", "scale", "depends_on", "profiles"))


def hashes(loaded: Loaded) -> dict[str, str]:
    """Return a hash of each service's configuration; equal ones need no new container."""
    import hashlib
    import json

    made: dict[str, str] = {}
    for name in names(loaded, "services"):
        service = {
            key: value for key, value in loaded.model["services"][name].items()
            if key not in _NOT_HASHED
        }  # fmt: skip
        if "deploy" in service:
            service["deploy"] = {k: v for k, v in service["deploy"].items() if k != "replicas"}
        text = json.dumps(service, sort_keys=True, ensure_ascii=False)
        made[name] = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
    return made
