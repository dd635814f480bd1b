"""Nodes -> the canonical model: plain JSON values in the reference's types and text forms.

The forms are those of ``docker compose config --format json``: sizes are texts of bytes
(``"67108864"``), durations Go's (``1m30s``), modes octal texts (``"0440"``), single-precision
numbers their shortest text, and empty values are left out.
"""

from __future__ import annotations

import struct

from gocker.spec import shortforms, units
from gocker.spec.merge import text_of
from gocker.spec.nodes import Mapping, Scalar, Sequence, plain
from gocker.spec.units import parse_int, shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gocker.spec.nodes import Node
    from gocker.spec.problems import Problems
    from gocker.spec.schema_data import Shape

# Stands for "not set": the key is left out.
UNSET: Any = object()


class Decoder:
    """Decodes nodes by their shape; what cannot be read goes into `problems`."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems

    def value(self, node: Node, shape: Shape, path: str) -> Any:
        """Return the plain value of `node`, or UNSET."""
        try:
            form = _SCALARS.get(shape.out)
            if form is None:
                return _NODES[shape.out](self, node, shape, path)
            return form(_scalar(node))
        except ValueError as error:
            self.problems.add(node.place, path, str(error))
            return UNSET

    def object(self, node: Node, shape: Shape, path: str) -> dict[str, Any]:
        """Return a mapping with fixed keys."""
        made: dict[str, Any] = {}
        keys = shape.keys or {}
        for key, item in node.items.items() if isinstance(node, Mapping) else ():
            known = keys.get(key)
            if known is None:
                made[key] = plain(item)
            elif known.out == "str" and isinstance(item, Scalar) and type(item.value) is str:
                if item.value:
                    made[key] = item.value
            else:
                value = self.value(item, known, f"{path}.{key}" if path else key)
                if value is not UNSET:
                    made[key] = value
        for key, default in shape.always.items():
            if key not in made:
                made[key] = dict(default) if isinstance(default, dict) else default
        return made


def _object(decoder: Decoder, node: Node, shape: Shape, path: str) -> Any:
    if isinstance(node, Mapping):
        return decoder.object(node, shape, path)
    if isinstance(node, Scalar) and node.value is None:
        return UNSET
    return plain(node)


def _map(decoder: Decoder, node: Node, shape: Shape, path: str) -> Any:
    """A mapping with free keys; null stays, it means "all defaults"."""
    if not isinstance(node, Mapping) or shape.values is None:
        return UNSET
    made = {}
    for key, item in node.items.items():
        value = decoder.value(item, shape.values, f"{path}.{key}")
        made[key] = None if value is UNSET else value
    return made or UNSET


def _list(decoder: Decoder, node: Node, shape: Shape, path: str) -> Any:
    if not isinstance(node, Sequence) or shape.items is None:
        return UNSET
    made = []
    for index, item in enumerate(node.items):
        value = decoder.value(item, shape.items, f"{path}[{index}]")
        made.append("" if value is UNSET else value)
    return made or UNSET


def _strings(decoder: Decoder, node: Node, shape: Shape, path: str) -> Any:
    if isinstance(node, Scalar):
        return UNSET if node.value is None else [text_of(node.value)]
    return _list(decoder, node, shape, path)


def _scalar(node: Node) -> Any:
    if isinstance(node, Scalar):
        return node.value
    raise ValueError("must be a single value")


def _str(value: Any) -> Any:
    if isinstance(value, float):
        raise ValueError(f"must be a string or an integer, not {text_of(value)}")  # noqa: TRY004  # the spec's mistake, not the caller's
    return text_of(value) if value not in (None, "") else UNSET


def _text(value: Any) -> str:
    """Any scalar as text; null is empty."""
    return "" if value is None else text_of(value)


_BOOLEANS = {
    "true": True, "y": True, "yes": True, "on": True, "false": False, "n": False, "no": False,
    "off": False,
}  # fmt: skip


def to_bool(value: Any) -> bool:
    """Return a boolean, also for the words the reference casts.

    Raises:
        ValueError: for any other text.
    """
    if isinstance(value, str):
        word = _BOOLEANS.get(value.lower())
        if word is None:
            raise ValueError(f"{shorten(value)} is not a boolean")
        return word
    return bool(value)


def to_int(value: Any) -> int:
    """Return an integer, also from its text or a float without fraction.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(value, str):
        return parse_int(value)
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"must be an integer, not {text_of(value)}")
    number = int(value or 0)
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError("does not fit into 64 bits")
    return number


def _uint(value: Any) -> int:
    number = to_int(value)
    if number < 0:
        raise ValueError("must not be negative")
    return number


def _float32(value: Any) -> float:
    number = units.parse_float(value) if isinstance(value, str) else float(value or 0)
    return to_float32(number)


def to_float32(value: float) -> float:
    """Return the shortest number that is the same in single precision; whole ones as int.

    Raises:
        ValueError: if it is out of range.
    """
    try:
        packed = struct.pack("<f", value)
    except OverflowError:
        raise ValueError("number is out of range") from None
    for digits in range(1, 10):
        short = float(f"{value:.{digits}g}")
        if struct.pack("<f", short) == packed:
            value = short
            break
    return int(value) if value.is_integer() else value


def _bytes(value: Any) -> Any:
    size = units.parse_bytes(value) if isinstance(value, str) else to_int(value)
    return str(size) if size else UNSET


def _duration(value: Any) -> str:
    return units.format_duration(units.parse_duration_ns(str(value)))


def _period(value: Any) -> int:
    """Microseconds, written as a number or a duration (``400ms``)."""
    if isinstance(value, str) and not value.lstrip("+-").isdigit():
        ns = units.parse_duration_ns(value)
        if ns % 1000:
            raise ValueError(f"{shorten(value)} is no whole number of microseconds")
        return ns // 1000
    return to_int(value)


def _mode(value: Any) -> str:
    """A file mode; text is octal, a number is what YAML made of it."""
    if isinstance(value, float):
        # 0999 is no octal number, so YAML reads a decimal one.
        raise ValueError(f"invalid mode {text_of(value)}, expected octal digits")  # noqa: TRY004  # the spec's mistake, not the caller's
    if isinstance(value, str):
        if not value or not frozenset("01234567").issuperset(value) or len(value) > 20:
            raise ValueError(f"invalid mode {shorten(value)}, expected octal digits")
        value = int(value, 8)
    return f"0{_uint(value):o}"


def _count(value: Any) -> int:
    """A number of devices; -1 is all of them."""
    if isinstance(value, str) and value.lower() == "all":
        return -1
    try:
        return to_int(value)
    except ValueError:
        text = shorten(str(value))
        raise ValueError(f"invalid count {text}, expected 'all' or a number") from None


def _if_set(form: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a form for which only null is "not set"."""
    return lambda value: UNSET if value is None else form(value)


def _if_any(form: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a form for which null and zero values are "not set"."""
    return lambda value: UNSET if value is None else form(value) or UNSET


def _written_duration(value: Any) -> Any:
    text = _duration(value)
    return UNSET if text == "0s" else text


_SCALARS: dict[str, Callable[[Any], Any]] = {
    "bool": _if_any(to_bool), "bool?": _if_set(to_bool), "bytes": _if_any(_bytes),
    "count": _if_any(_count), "duration": _if_set(_written_duration),
    "duration?": _if_set(_duration), "float32": _if_any(_float32), "int": _if_any(to_int),
    "int?": _if_set(to_int), "mode": _mode, "period": _if_any(_period), "str": _str,
    "opt-out": lambda value: UNSET if to_bool(value) else False,
    "text": _text, "uint": _if_any(_uint), "uint?": _if_set(_uint),
}  # fmt: skip


def _words(node: Sequence) -> list[str]:
    return [text_of(_scalar(item)) for item in node.items]


def _command(node: Node) -> Any:
    """A command: null is the image's, an empty one clears that."""
    if isinstance(node, Sequence):
        return _words(node)
    value = _scalar(node)
    return None if value is None else shortforms.command(str(value))


def _test(node: Node) -> Any:
    if isinstance(node, Sequence):
        return _words(node) or UNSET
    value = _scalar(node)
    return UNSET if value is None else ["CMD-SHELL", str(value)]


def _texts(node: Node) -> list[str]:
    """One text or several, always as a list."""
    return _words(node) if isinstance(node, Sequence) else [text_of(_scalar(node))]


def _environment(decoder: Decoder, node: Node, _shape: Shape, path: str) -> Any:
    """Names and values; null means "not set"."""
    made: dict[str, str | None] = {}
    if isinstance(node, Mapping):
        for key, item in node.items.items():
            value = _scalar(item)
            made[key] = None if value is None else text_of(value)
    elif isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            key, equals, value = text_of(_scalar(item)).partition("=")
            if key[-1:].isspace():
                decoder.problems.add(
                    item.place, f"{path}[{index}]",
                    f"environment variable {shorten(key)} is declared with a trailing space",
                )  # fmt: skip
            made[key] = value if equals else None
    return made or UNSET


def _ssh(decoder: Decoder, node: Node, shape: Shape, path: str) -> Any:
    """Keys for a build: a list of their names, or with paths a mapping."""
    keys = _environment(decoder, node, shape, path)
    return keys if keys is UNSET or any(keys.values()) else list(keys)


def _mapping(node: Node) -> Any:
    """Names and values; without a value is empty."""
    made: dict[str, str] = {}
    if isinstance(node, Mapping):
        made = {key: _text(_scalar(item)) for key, item in node.items.items()}
    elif isinstance(node, Sequence):
        for line in _words(node):
            key, _, value = line.partition("=")
            made[key] = value
    return made or UNSET


def _hosts(node: Node) -> Any:
    """``host=address`` lines, sorted; a host may have several addresses."""
    hosts: list[tuple[str, str]] = []
    if isinstance(node, Mapping):
        for key, item in node.items.items():
            each = item.items if isinstance(item, Sequence) else [item]
            hosts += ((key, _text(_scalar(one))) for one in each)
    elif isinstance(node, Sequence):
        for line in _words(node):
            host, sign, addresses = line.partition("=" if "=" in line else ":")
            if not sign:
                raise ValueError(f"invalid additional host {shorten(line)}, missing address")
            hosts += ((host, address) for address in addresses.split(","))
    for host, _ in hosts:
        if not host or ":" in host or "=" in host:
            raise ValueError(f"bad host name {shorten(host)}")
    return sorted(f"{host}={_unbracketed(address)}" for host, address in hosts) or UNSET


def _unbracketed(address: str) -> str:
    bracketed = len(address) > 2 and address[0] == "[" and address[-1] == "]"
    return address[1:-1] if bracketed else address


def _ulimit(decoder: Decoder, node: Node, shape: Shape, path: str) -> Any:
    if isinstance(node, Mapping):
        return decoder.object(node, shape, path)
    return to_int(_scalar(node)) or {}


def _external(node: Node) -> Any:
    return UNSET if isinstance(node, Mapping) else to_bool(_scalar(node)) or UNSET


def _of_node(form: Callable[[Node], Any]) -> Callable[[Decoder, Node, Shape, str], Any]:
    return lambda _decoder, node, _shape, _path: form(node)


_NODES: dict[str, Callable[[Decoder, Node, Shape, str], Any]] = {
    "command": _of_node(_command), "env_file": _list, "environment": _environment,
    "external": _of_node(_external), "hosts": _of_node(_hosts), "list": _list, "map": _map,
    "mapping": _of_node(_mapping), "object": _object, "plain": _of_node(plain),
    "ssh": _ssh,
    "strings": _strings, "test": _of_node(_test), "texts": _of_node(_texts), "ulimit": _ulimit,
}  # fmt: skip
