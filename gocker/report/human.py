"""Numbers and foreign text for human eyes: units, and names without control characters."""

from __future__ import annotations

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")

# Terminal sequences as a whole, so that no half of one is left as text: OSC and the other string
# sequences up to their end (ECMA-48 5.6), CSI (5.4), two-byte escapes; then single C0 and C1
# controls, line separators, and the bidirectional controls of CVE-2021-42574.
_STRING = r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\n\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
_CSI = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
_ESCAPE = r"\x1b[ -/]*[0-~]?"
_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_SGR = r"\x1b\[[0-9;:]*m"
# Not compiled here: that takes 2 ms of every command; re keeps them once they are used.
_UNSAFE = f"{_STRING}|{_CSI}|{_ESCAPE}|[\x00-\x1f\x7f-\x9f\u2028\u2029{_BIDI}]"
_UNSAFE_OUTPUT = (
    f"({_SGR})|{_STRING}|{_CSI}|{_ESCAPE}|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029{_BIDI}]"
)
_BREAKS = r"[\t\n\r\u2028\u2029]+"


def safe(text: str) -> str:
    """Return `text` as one line that no terminal obeys (names, labels, error messages)."""
    if text.isprintable():
        return text
    import re  # names hardly ever come by here

    return re.sub(_UNSAFE, "", re.sub(_BREAKS, " ", text)).encode("utf-8", "replace").decode()


def safe_output(text: str) -> str:
    """Return a program's output with colours (SGR), tabs and newlines, and no other control."""
    import re

    return re.sub(_UNSAFE_OUTPUT, lambda match: match[1] or "", text)


def size(count: float | None) -> str:
    """Return bytes as ``32 MiB``: three digits at most, powers of 1024; "-" for None."""
    if count is None:
        return "-"
    unit = 0
    while count >= 1023.5 and unit < len(_BINARY) - 1:
        count /= 1024
        unit += 1
    return f"{_three(count)} {_BINARY[unit]}"


def duration(seconds: float | None) -> str:
    """Return seconds as ``4 ms``, ``1.2 s``, ``2m05s`` or ``1h02m``; "-" for None."""
    if seconds is None:
        return "-"
    if seconds < 0.9995:
        return f"{_three(seconds * 1000)} ms"
    if seconds < 59.95:
        return f"{_three(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    return f"{minutes // 60}h{minutes % 60:02}m"


def count(number: int, noun: str, plural: str = "s") -> str:
    """Return ``1 fork`` or ``2 forks``; `plural` is the ending."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{plural}"


def _three(value: float) -> str:
    """Return at least the whole part, with one decimal below ten: 1.2, 9, 32, 512."""
    text = f"{value:.1f}" if value < 9.95 else f"{value:.0f}"
    return text.removesuffix(".0")
