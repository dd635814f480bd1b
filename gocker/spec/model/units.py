"""Sizes, durations and file modes of the canonical model and of x-gocker, typed for use."""

from typing import Any

from gocker.spec.units import parse_bytes, parse_duration_ns


def to_bytes(value: Any) -> int:
    """Return a size in bytes; -1 stays -1 (unlimited).

    Raises:
        ValueError: in words for the user.
    """
    if isinstance(value, str):
        return parse_bytes(value)
    if isinstance(value, int) and not isinstance(value, bool) and -1 <= value < 1 << 63:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise ValueError(f"{shown(value)} is not a size; write bytes or 512m, 1.5g, 64KiB")


def to_seconds(value: Any) -> float:
    """Return a duration in seconds.

    Raises:
        ValueError: in words for the user.
    """
    if isinstance(value, str):
        return parse_duration_ns(value) / 1e9
    raise ValueError(f"{shown(value)} is not a duration; write 90s, 1m30s or 500ms")


def to_mode(value: Any) -> int:
    """Return file mode bits; text is octal.

    Raises:
        ValueError: in words for the user.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o7777:
        return value
    if isinstance(value, str):
        digits = value.removeprefix("0o")
        if 0 < len(digits) <= 8 and set(digits) <= set("01234567") and int(digits, 8) <= 0o7777:
            return int(digits, 8)
    raise ValueError(f'{shown(value)} is not a file mode; write it in octal, as "0440"')


def shown(value: Any) -> str:
    """Return a value as an error quotes it: short, with YAML's words for its type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…'"
