"""JSON by the C half of Python's own json module, without the Python half.

That one compiles regular expressions when it is imported, which is a tenth of what starting a
container takes. `loads`, `dumps` and `JSONDecodeError` are json's.
"""

from __future__ import annotations

import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# What json.decoder.JSONDecodeError derives from; the C half imports that one when it needs it.
JSONDecodeError = ValueError
_CONSTANTS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": -float("inf")}
_SPACE = " \t\n\r"


class _Context:
    """What _json.make_scanner asks for."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = _CONSTANTS.__getitem__
    memo: dict[str, str] = {}  # noqa: RUF012  # the C half's own


_scan = _json.make_scanner(_Context)  # type: ignore[arg-type]  # its stub is of the object it makes


def loads(data: str | bytes) -> Any:
    """Return the value of a JSON text, in UTF-8 if it is bytes.

    Raises:
        ValueError: it is none.
    """
    text = data if isinstance(data, str) else data.decode()
    start = len(text) - len(text.lstrip(_SPACE))
    try:
        value, end = _scan(text, start)
    except StopIteration as stop:
        raise ValueError(f"no JSON value at character {stop.value}") from None
    if text[end:].strip(_SPACE):
        raise ValueError(f"more than one JSON value: character {end}")
    return value


def dumps(
    value: Any, *, separators: tuple[str, str] = (", ", ": "), indent: int | str | None = None,
    default: Callable[[Any], Any] | None = None, sort_keys: bool = False,
) -> str:  # fmt: skip
    """Return a value as JSON."""
    item, key = separators
    if indent is not None:
        return _indented(value, indent if isinstance(indent, str) else " " * indent, "\n")
    encoder = _json.make_encoder(
        {}, default or _refuse, _json.encode_basestring_ascii, None, key, item, sort_keys, False,
        True,
    )  # fmt: skip
    return "".join(encoder(value, 0))


def _indented(value: Any, step: str, line: str) -> str:
    """Return a value with a line for each of its parts. `line`: the newline and the indentation."""
    below = line + step
    if isinstance(value, dict) and value:
        parts = [f"{dumps(key)}: {_indented(item, step, below)}" for key, item in value.items()]
        return f"{{{below}{f',{below}'.join(parts)}{line}}}"
    if isinstance(value, list) and value:
        parts = [_indented(item, step, below) for item in value]
        return f"[{below}{f',{below}'.join(parts)}{line}]"
    return dumps(value)


def _refuse(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} is not JSON")
