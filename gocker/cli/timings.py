"""``up --timings``: when each stage of a start ended. A mark costs 0.1 us, so it is always made."""

from __future__ import annotations

import time

_marks: list[tuple[str, float]] = []
_seen: set[str] = set()
_python_s = time.process_time()


def mark(stage: str) -> None:
    """Note that `stage` has ended."""
    _marks.append((stage, time.monotonic()))


def once(stage: str) -> None:
    """Note the first time that `stage` has ended."""
    if stage not in _seen:
        _seen.add(stage)
        mark(stage)


def table() -> str:
    """Return a line per stage: milliseconds it took, and since our execve.

    Python's own start is told by its CPU time: nobody noted when we were executed.
    """
    lines = ["STAGE                         MS    SINCE"]
    began = before = _marks[0][1] - _python_s
    for stage, when in _marks:
        lines.append(f"{stage:<24}{(when - before) * 1e3:8.1f} {(when - began) * 1e3:8.1f}")
        before = when
    return "\n".join(lines) + "\n"
