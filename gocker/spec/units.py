"""Compose's sizes and durations, with the reference loader's exact grammar.

Sizes are Docker's (docker/go-units ``RAMInBytes``, powers of 1024); durations are Go's
``time.ParseDuration`` with days and weeks added (xhit/go-str2duration).
"""

from __future__ import annotations

_MULTIPLES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_NS = {
    "ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 1_000_000, "s": 1_000_000_000,
    "m": 60_000_000_000, "h": 3_600_000_000_000, "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}  # fmt: skip
_MAX = (1 << 63) - 1
_DIGITS = frozenset("0123456789")


def parse_int(text: str) -> int:
    """Return a decimal integer of 64 bits, as Go's ``strconv.ParseInt(text, 10, 64)``.

    Raises:
        ValueError: for anything else; Python's spaces, underscores and other digits included.
    """
    digits = text[1:] if text[:1] in ("+", "-") else text
    # The length is checked first: int() of a long text is quadratic.
    if not digits or not _DIGITS.issuperset(digits) or len(digits) > 4000:
        raise ValueError(f"{shorten(text)} is not an integer")
    value = int(text)
    if not -_MAX - 1 <= value <= _MAX:
        raise ValueError(f"{shorten(text)} does not fit into 64 bits")
    return value


def parse_float(text: str) -> float:
    """Return a finite decimal number, as Go's ``strconv.ParseFloat``.

    Raises:
        ValueError: for anything else; infinities and NaN included.
    """
    if len(text) > 400 or not frozenset("0123456789+-.eE").issuperset(text):
        raise ValueError(f"{shorten(text)} is not a number")
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{shorten(text)} is not a number") from None
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{shorten(text)} is out of range")
    return value


def parse_bytes(text: str) -> int:
    """Return the number of bytes in ``512``, ``64k``, ``64KB``, ``1.5g``, ``1GiB`` or ``1 gb``.

    A plain integer may be negative (``-1`` is "unlimited" where a key allows it).

    Raises:
        ValueError: with the text and what is expected.
    """
    try:
        return parse_int(text)
    except ValueError:
        pass
    end = max((text.rfind(c) for c in "0123456789. "), default=-1)
    number, suffix = text[: end + 1], text[end + 1 :].lower()
    if end >= 0 and text[end] == " ":
        number = text[:end]
    try:
        size = parse_float(number)
    except ValueError:
        size = -1.0
    unit = suffix[:1]
    known = unit in _MULTIPLES and suffix[1:] in ("", "b", "ib")
    if size < 0 or not (known or suffix in ("", "b")):
        raise ValueError(f"invalid size {shorten(text)}, expected a number and b, k, m, g, t or p")
    size *= _MULTIPLES.get(unit, 1)
    if size > _MAX:
        raise ValueError(f"size {shorten(text)} is too large")
    return int(size)


def parse_duration_ns(text: str) -> int:
    """Return the nanoseconds in ``1h5m30s20ms``, ``0.5s``, ``1d`` or ``0``.

    Raises:
        ValueError: with the text and what is expected; a number needs a unit.
    """
    rest = text[1:] if text[:1] in ("+", "-") else text
    sign = -1 if text[:1] == "-" else 1
    if rest == "0":
        return 0
    total = 0
    while rest:
        number, rest = _split(rest, "0123456789.")
        unit, rest = _split(rest, "0123456789.", inside=False)
        whole, _, fraction = number.partition(".")
        if not (whole or fraction) or "." in fraction or (unit and unit not in _NS):
            raise _bad_duration(text)
        if not unit:
            raise ValueError(f"missing unit in duration {shorten(text)}, for example '10s'")
        total += int(whole[:30] or 0) * _NS[unit]
        if fraction:
            total += int(float("0." + fraction[:400]) * _NS[unit] + 1e-6)
        if total > _MAX or len(whole) > 30:
            raise ValueError(f"duration {shorten(text)} is too long")
    if not text or text in ("+", "-"):
        raise _bad_duration(text)
    return sign * total


def _bad_duration(text: str) -> ValueError:
    return ValueError(f"invalid duration {shorten(text)}, expected for example '1m30s'")


def _split(text: str, chars: str, *, inside: bool = True) -> tuple[str, str]:
    """Split off the longest start of `text` that is made of `chars`, or that has none."""
    end = 0
    while end < len(text) and (text[end] in chars) is inside:
        end += 1
    return text[:end], text[end:]


def format_duration(ns: int) -> str:
    """Return Go's ``time.Duration.String``: ``1h5m30.02s``, ``500ms``, ``0s``."""
    sign, ns = ("-", -ns) if ns < 0 else ("", ns)
    if ns == 0:
        return "0s"
    if ns < 1_000_000_000:
        for unit, size in (("ns", 1000), ("µs", 1_000_000), ("ms", 1_000_000_000)):
            if ns < size:
                return f"{sign}{_decimal(ns, size // 1000)}{unit}"
    minutes, rest = divmod(ns, 60_000_000_000)
    text = f"{_decimal(rest, 1_000_000_000)}s"
    if minutes:
        hours, minutes = divmod(minutes, 60)
        text = f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}"
    return sign + text


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    if not rest:
        return str(whole)
    digits = str(rest).rjust(len(str(unit)) - 1, "0").rstrip("0")
    return f"{whole}.{digits}"


def format_float(value: float) -> str:
    """Return Go's ``fmt.Sprint`` of a float64: shortest digits, an exponent below -4 and from 6.

    So 1000000.0 is ``1e+06`` (strconv/ftoa.go: the shortest form decides as for precision 6).
    """
    text = repr(value)
    mantissa, _, exponent = text.partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = (whole + fraction).strip("0")
    if not digits:
        return sign + "0"
    point = len(whole) + int(exponent or 0)
    point -= len(whole + fraction) - len((whole + fraction).lstrip("0"))
    if point - 1 < -4 or point - 1 >= 6:
        tail = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{tail}e{point - 1:+03d}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if len(digits) <= point:
        return sign + digits + "0" * (point - len(digits))
    return f"{sign}{digits[:point]}.{digits[point:]}"


def shorten(text: str) -> str:
    """Return `text` quoted for an error, at most 60 characters of it."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
