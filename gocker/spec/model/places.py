"""Where problems and ignored keys are in the files."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from gocker.errors import Problem
from gocker.spec.model.walk import Found


class Place(Protocol):
    """Where something stands in a file; lines and columns count from 1, 0 is unknown."""

    @property
    def file(self) -> str:
        """Path of the file."""

    @property
    def line(self) -> int:
        """Line, from 1."""

    @property
    def column(self) -> int:
        """Column, from 1."""


Locate = Callable[[str], Place | None]

# More help nobody, and a generated file can hold a million.
_MOST = 200


class Ignored(NamedTuple):
    """A key that is accepted and has no effect; `place` is ``file:line:column`` or empty."""

    path: str
    place: str
    reason: str


def ignored(found: list[tuple[str, str]], place: Locate) -> tuple[Ignored, ...]:
    """Return the keys without effect with their places."""
    return tuple(Ignored(path, _where(place, path), reason) for path, reason in found)


def placed(found: list[Found], place: Locate) -> list[Problem]:
    """Return the problems with their places, in the order of the files."""
    problems = []
    for path, message, hint in found:
        at = _nearest(place, path)
        file, line, column = (at.file, at.line, at.column) if at else ("spec", 1, 1)
        problems.append(Problem(file, line, column, path, message, hint))
    files = {problem.file: index for index, problem in reversed([*enumerate(problems)])}
    problems.sort(key=lambda p: (files[p.file], p.line, p.column))
    return problems[:_MOST]


def _where(place: Locate, path: str) -> str:
    at = _nearest(place, path)
    return f"{at.file}:{at.line}:{at.column}" if at else ""


def _nearest(place: Locate, path: str) -> Place | None:
    """Return the place of `path`, or of what holds it: short forms have no place inside."""
    while path:
        at = place(path)
        if at is not None and at.line:
            return at
        cut = max(path.rfind("."), path.rfind("["))
        path = path[: max(cut, 0)]
    return None
