"""Sizes, durations and file modes as the canonical model and people write them.

Sources: compose-spec 11-extension.md "Specifying byte values" and "Specifying durations".
"""

import re
from typing import Any

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgtp])i?)?b?", re.IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h|d|w)")
_SECONDS = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3,
    "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0,
}  # fmt: skip


def to_bytes(value: Any) -> int:
    """Return a size in bytes; -1 stays -1 (unlimited).

    Raises:
        ValueError: in words for the user.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        text = value.strip()
        if text.removeprefix("-").isdecimal():
            return int(text)
        match = _SIZE.fullmatch(text)
        if match:
            return int(float(match[1]) * 1024 ** _POWER[(match[2] or "").lower()])
    raise ValueError(f"{shown(value)} is not a size; write bytes or 512m, 1.5g, 64KiB")


def to_seconds(value: Any) -> float:
    """Return a duration in seconds; a number without a unit is refused, save 0.

    Raises:
        ValueError: in words for the user.
    """
    if isinstance(value, str):
        text = value.strip()
        parts = _DURATION.findall(text)
        if parts and "".join(number + unit for number, unit in parts) == text:
            # Rounded to Go's nanosecond, so that 0.1s three times is what people mean.
            return round(sum(float(number) * _SECONDS[unit] for number, unit in parts), 9)
        if text == "0":
            return 0.0
    raise ValueError(f"{shown(value)} is not a duration; write 90s, 1m30s or 500ms")


def to_mode(value: Any) -> int:
    """Return file mode bits; text is octal.

    Raises:
        ValueError: in words for the user.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o7777:
        return value
    if isinstance(value, str):
        digits = value.strip().removeprefix("0o")
        if digits.isdecimal() and not set(digits) & {"8", "9"} and int(digits, 8) <= 0o7777:
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
