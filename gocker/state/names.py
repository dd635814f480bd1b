"""Names that become file names: run identifiers, log files, and the check for all others."""

from __future__ import annotations

import os

from gocker.errors import UsageError
from gocker.report.human import safe

# Crockford's base 32 in lower case: sorts as it counts, and has no letter that reads as a digit.
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_RUN_ID_LENGTH = 13
_MOST = 200  # characters
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
# Those who list logs import `re`; a short command would pay a fifth of its time for it.
_LOG = r"((?:[A-Za-z0-9_.-]|%[0-9A-F]{2})+?)(?:@([1-9][0-9]{0,8}))?\.log"


def new_run_id(seconds: float) -> str:
    """Return a run identifier: 9 digits of milliseconds since 1970, 4 of chance.

    Such names sort by time and are valid as directory, cgroup and host names.
    """
    chance = int.from_bytes(os.urandom(3)) & 0xFFFFF
    number = int(seconds * 1000) << 20 | chance
    return "".join(_DIGITS[number >> shift & 31] for shift in range(60, -1, -5))


def run_id_after(run_id: str) -> str:
    """Return the first identifier of the next millisecond."""
    number = (int(created_of(run_id) * 1000 + 0.5) + 1) << 20 | int.from_bytes(os.urandom(2))
    return "".join(_DIGITS[number >> shift & 31] for shift in range(60, -1, -5))


def is_run_id(name: str) -> bool:
    """Return whether `name` is a run identifier."""
    return len(name) == _RUN_ID_LENGTH and not set(name) - set(_DIGITS)


def created_of(run_id: str) -> float:
    """Return when a run was made, in seconds since 1970, as its identifier tells."""
    number = 0
    for digit in run_id[:-4]:
        number = number << 5 | _DIGITS.index(digit)
    return number / 1000


def run_of(container_id: str) -> str:
    """Return the run of a container, whose identifier is ``<run id>-<anything>``."""
    return container_id.partition("-")[0]


def checked(name: str, what: str) -> str:
    """Return `name` if it can be a file name of ours.

    Raises:
        UsageError: if it could lead elsewhere (``../x``) or hide (``.x``).
    """
    plain = name.isascii() and _PLAIN.issuperset(name.encode())
    if not plain or not name[:1].isalnum() or len(name) > _MOST:
        raise UsageError(
            f"{what} {safe(name)!r} is not a valid name",
            hint="use letters, digits, '_', '.' and '-', and begin with a letter or digit",
        )
    return name


def log_name(instance: str, attempt: int) -> str:
    """Return the log file's name of a container: ``web.log``, ``web@2.log`` for attempt 2.

    Bytes beyond letters, digits and ``_.-`` are percent-encoded, "@" among them, so that two
    instances never share a file. (urllib.parse would do it, and take 2 ms to import.)
    """
    data = instance.encode("utf-8", "surrogatepass")
    stem = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in data)
    if stem.startswith("."):
        stem = f"%2E{stem[1:]}"
    return f"{stem}.log" if attempt == 1 else f"{stem}@{attempt}.log"


def instance_of(log: str) -> tuple[str, int] | None:
    """Return instance and attempt of a log file's name, or None if it is not one."""
    import re

    match = re.fullmatch(_LOG, log)
    if match is None:
        return None
    first, *rest = match[1].split("%")
    data = first.encode() + b"".join(bytes([int(p[:2], 16)]) + p[2:].encode() for p in rest)
    try:
        return data.decode("utf-8", "surrogatepass"), int(match[2] or 1)
    except UnicodeDecodeError:
        return None
