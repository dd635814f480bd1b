"""JSON by the C half of the standard library alone: ``import json`` brings `re` and `enum` along.

Those two take as long as half a start of the interpreter, and every process of ours would pay.
`loads` and `dumps` do what `json.loads` and `json.dumps` do, with ``(",", ":")`` as separators.
"""

from __future__ import annotations

import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_SPACE = " \t\n\r"


class _Context:
    """What `_json.make_scanner` reads of a `json.JSONDecoder`."""

    strict = True
    object_hook = object_pairs_hook = array_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {
        "-Infinity": -float("inf"), "Infinity": float("inf"), "NaN": float("nan"),
    }.__getitem__  # fmt: skip
    memo: dict[str, str] | None = None


_scan: Any = _json.make_scanner(_Context)  # type: ignore[arg-type]  # what it reads is there
_encoders: dict[tuple[Any, ...], Any] = {}


def loads(text: str | bytes) -> Any:
    """Return the value of a JSON text, which is UTF-8 if it is bytes.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(text, str):
        text = text.decode("utf-8", "surrogatepass")
    text = text.strip(_SPACE)
    try:
        value, end = _scan(text, 0)
    except StopIteration as error:
        raise ValueError(f"no JSON value at character {error.value}") from None
    except SystemError:
        # The scanner looks for json's own exception, and sets none where json is not imported.
        raise ValueError(
            "no JSON: a text or a number does not end, or has what it may not"
        ) from None
    if end != len(text):
        raise ValueError(f"more than one JSON value: character {end}")
    return value


def dumps(
    value: Any, *, sort_keys: bool = False, ascii_only: bool = True, allow_nan: bool = True,
    default: Callable[[Any], Any] | None = None,
) -> str:  # fmt: skip
    """Return a value as JSON without a space.

    Raises:
        TypeError: if it has no such form and `default` makes none of it.
        ValueError: for NaN and infinity, unless `allow_nan`.
    """
    key = (sort_keys, ascii_only, allow_nan, default)
    encode = _encoders.get(key)
    if encode is None:
        text = _json.encode_basestring_ascii if ascii_only else _json.encode_basestring
        encode = _encoders[key] = _json.make_encoder(
            None, default or _refuse, text, None, ":", ",", sort_keys, False, allow_nan
        )
    return "".join(encode(value, 0))


def indented(value: Any, step: int | str, *, _line: str = "\n") -> str:
    """Return a value with a line for each of its parts.

    Args:
        value: as `dumps` takes it.
        step: of the indentation: a number of spaces, or what is put there.
    """
    below = _line + (step if isinstance(step, str) else " " * step)
    if isinstance(value, dict) and value:
        parts = [f"{dumps(key)}: {indented(it, step, _line=below)}" for key, it in value.items()]
        return f"{{{below}{f',{below}'.join(parts)}{_line}}}"
    if isinstance(value, list) and value:
        parts = [indented(it, step, _line=below) for it in value]
        return f"[{below}{f',{below}'.join(parts)}{_line}]"
    return dumps(value)


def _refuse(value: object) -> Any:
    raise TypeError(f"object of type {type(value).__name__} is not JSON serializable")
