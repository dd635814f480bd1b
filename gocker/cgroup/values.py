"""The forms in which the kernel prints values; each reader makes them comparable.

A reader takes a file's text and returns an int or a canonical string. -1 is unlimited.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Value = int | str
    Reader = Callable[[str], Value]

PAGE_SIZE = os.sysconf("SC_PAGESIZE")
# mm/page_counter.h: PAGE_COUNTER_MAX is LONG_MAX / PAGE_SIZE pages, printed in bytes. The size
# of a page divides it out: what v1 prints for "no limit" is LONG_MAX rounded down to a page.
MEMORY_UNLIMITED = (2**63 - 1) // PAGE_SIZE * PAGE_SIZE


def number(text: str) -> int:
    """Read one number; ``max`` is -1."""
    word = text.strip()
    return -1 if word == "max" else int(word)


def v1_bytes(text: str) -> int:
    """Read a v1 memory limit; the largest page count is -1."""
    value = int(text)
    return -1 if value >= MEMORY_UNLIMITED else value


def whole_pages(value: int) -> int:
    """Return what the kernel keeps of a limit in bytes: whole pages, rounded down.

    Source: page_counter_memparse() in mm/page_counter.c, "return bytes / PAGE_SIZE".
    """
    if value < 0 or value >= MEMORY_UNLIMITED:
        return -1
    return value // PAGE_SIZE * PAGE_SIZE


def first_word(text: str) -> int:
    """Read the first of several words: the quota in ``cpu.max``."""
    return number(text.split(None, 1)[0])


def second_word(text: str) -> int:
    """Read the second word: the period in ``cpu.max``, the weight in ``default 100``."""
    return number(text.split()[1])


def weight(text: str) -> int:
    """Read ``default 100`` or, as CFQ and old BFQ print it, ``100``."""
    for line in text.splitlines():
        words = line.split()
        if words[0] == "default":
            return int(words[1])
        if len(words) == 1:
            return int(words[0])
    raise ValueError(f"no weight in {text!r}")


def flat(text: str) -> dict[str, int]:
    """Read lines of ``key number``. Source: cgroup-v2.rst, "Flat keyed"."""
    pairs = (line.partition(" ") for line in text.splitlines())
    return {key: number(value) for key, _, value in pairs if value}


def flat_key(key: str) -> Reader:
    """Return a reader of one value of a flat keyed file."""
    return lambda text: flat(text)[key]


def device_line(device: str, key: str | None = None) -> Reader:
    """Return a reader of the value of one device ``MAJOR:MINOR``; no line means none: 0.

    `key` picks one of several ``key=value`` pairs (``io.max``), else the rest of the line counts.
    """

    def read(text: str) -> int:
        for line in text.splitlines():
            name, _, rest = line.partition(" ")
            if name != device:
                continue
            if key is None:
                return number(rest)
            pairs = dict(pair.split("=", 1) for pair in rest.split())
            return number(pairs.get(key, "0"))
        return 0 if key is None else -1

    return read


def cpu_set(text: str) -> str:
    """Return a list of CPUs or nodes in the kernel's form: ``0,1,2,5`` is ``0-2,5``.

    Raises:
        ValueError: if it is not a list. Source: cpuset(7) "List format".
    """
    numbers: set[int] = set()
    for part in text.strip().split(","):
        if not part:
            continue
        first, dash, last = part.partition("-")
        numbers.update(range(int(first), int(last if dash else first) + 1))
    ranges: list[str] = []
    ordered = sorted(numbers)
    start = 0
    for i, value in enumerate(ordered):
        if i + 1 == len(ordered) or ordered[i + 1] != value + 1:
            low = ordered[start]
            ranges.append(str(low) if low == value else f"{low}-{value}")
            start = i + 1
    return ",".join(ranges)


def line(text: str) -> str:
    """Return the text without its newline."""
    return text.strip()
