"""Collects the mistakes of a spec, so that several are told at once."""

from __future__ import annotations

from itertools import islice

from gocker.errors import Problem, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gocker.spec.nodes import Place

# More help nobody, and a generated file can hold a million.
_MOST = 200
# Each costs milliseconds.
_MOST_HINTS = 25


class Near:
    """A hint that names the option closest to a word; worked out only if it is shown."""

    __slots__ = ("options", "otherwise", "word")

    def __init__(self, word: str, options: Iterable[str], otherwise: str | None = None) -> None:
        self.word = word
        self.options = options
        self.otherwise = otherwise

    def text(self) -> str | None:
        """Return the hint."""
        return suggest(self.word, self.options) or self.otherwise


class Problems:
    """The problems found so far, and the warnings."""

    def __init__(self) -> None:
        self.found: list[Problem] = []
        self.warnings: list[str] = []
        self._files: dict[str, int] = {}

    def add(self, place: Place, path: str, message: str, hint: str | Near | None = None) -> None:
        """Note one mistake."""
        self._files.setdefault(place.file, len(self._files))
        if len(self.found) < _MOST:
            if isinstance(hint, Near):
                hint = hint.text() if len(self.found) < _MOST_HINTS else hint.otherwise
            self.found.append(
                Problem(place.file, max(place.line, 1), max(place.column, 1), path, message, hint)
            )

    def warn(self, message: str) -> None:
        """Note something that people should know and that is no error; each text once."""
        if message not in self.warnings:
            self.warnings.append(message)

    def check(self) -> None:
        """Raise a SpecError if anything was found, in the order of the files and their lines."""
        if self.found:
            order = self._files
            self.found.sort(key=lambda p: (order[p.file], p.line, p.column))
            raise SpecError(_once(self.found))

    def and_then(self, last: SpecError) -> SpecError:
        """Return an error with all that was found before `last`, after which nothing was read."""
        known = {str(problem) for problem in last.problems}
        before = [problem for problem in self.found if str(problem) not in known]
        return SpecError(_once([*before, *last.problems]))


def _once(problems: list[Problem]) -> list[Problem]:
    """Drop repeats: an anchor's mistake shows wherever it is used, with the same place."""
    return list({str(problem): problem for problem in problems}.values())


def failure(place: Place, path: str, message: str, hint: str | None = None) -> SpecError:
    """Return a SpecError for a mistake after which nothing more can be read."""
    return SpecError(
        [Problem(place.file, max(place.line, 1), max(place.column, 1), path, message, hint)]
    )


def suggest(word: str, options: Iterable[str]) -> str | None:
    """Return ``did you mean 'x'?`` for the closest option, or None."""
    import difflib  # only when something is wrong

    # A long word matches nothing, and many options would cost seconds.
    some = list(islice(options, 500))
    best = difflib.get_close_matches(word[:64], some, n=1, cutoff=0.6)
    return f"did you mean {best[0]!r}?" if best else None
