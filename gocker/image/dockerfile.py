"""Dockerfiles: instructions with their lines, continuations, heredocs and variables. Pure.

No maintained library on PyPI reads heredocs and flags (dockerfile-parse leaves both out), so
this is our own; BuildKit's reference is the specification. What is not supported is refused by
file and line.
"""

from __future__ import annotations

import json
import re

from gocker.errors import SpecError
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

INSTRUCTIONS = frozenset((
    "FROM", "RUN", "COPY", "ADD", "ENV", "ARG", "WORKDIR", "USER", "ENTRYPOINT", "CMD", "LABEL",
    "EXPOSE", "VOLUME", "STOPSIGNAL", "HEALTHCHECK", "SHELL", "ONBUILD", "MAINTAINER",
))  # fmt: skip
MOST_BYTES = 1 << 20
_DIRECTIVE = re.compile(r"#\s*([a-z]+)\s*=\s*(.+?)\s*")
_FLAG = re.compile(r"--([a-z][a-z-]*)(?:=(\S*))?(?:\s+|$)")
_HEREDOC = re.compile(r"<<(-?)(['\"]?)([A-Za-z_][A-Za-z0-9_.]*)\2")
_VARIABLE = re.compile(
    r"\\(.)|\$(?:([A-Za-z_][A-Za-z0-9_]*)"
    r"|\{([A-Za-z_][A-Za-z0-9_]*)(?:(:[-+])((?:\\.|[^}])*))?\}|(\{))"
)


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A document inside the file. `expand`: variables in it are replaced (its word is unquoted)."""

    name: str
    content: str
    expand: bool


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction. `text` is what follows the name and the flags, `line` where it begins."""

    name: str
    text: str
    line: int
    flags: tuple[tuple[str, str], ...] = ()
    heredocs: tuple[Heredoc, ...] = ()

    def flag(self, name: str, default: str = "") -> str:
        """Return the last value of a flag."""
        return dict(self.flags).get(name, default)


class Dockerfile:
    """A parsed file. `shown`: its name for messages."""

    def __init__(self, text: str, shown: str) -> None:
        self.shown = shown
        self._lines = text.splitlines()
        self._at = 0
        self._escape = "\\"
        self.instructions: list[Instruction] = []
        if len(text) > MOST_BYTES:
            self.fail(1, f"it has more than {MOST_BYTES} bytes")
        self._directives()
        while self._at < len(self._lines):
            self._next()
        if not self.instructions:
            self.fail(1, "there is no instruction in it")

    def fail(self, line: int, message: str, hint: str | None = None) -> NoReturn:
        """Refuse, naming the line.

        Raises:
            SpecError: always.
        """
        from gocker.errors import Problem

        raise SpecError([Problem(self.shown, line, 1, "", message, hint)])

    def _directives(self) -> None:
        """Read ``# syntax=`` and ``# escape=`` before anything else."""
        while self._at < len(self._lines):
            match = _DIRECTIVE.fullmatch(self._lines[self._at].strip())
            if match is None or match[1] not in ("syntax", "escape", "check"):
                return
            if match[1] == "escape":
                if match[2] not in ("\\", "`"):
                    self.fail(self._at + 1, f"escape={match[2]!r} is neither \\ nor `")
                self._escape = match[2]
            self._at += 1

    def _next(self) -> None:
        line = self._lines[self._at]
        stripped = line.strip()
        begin = self._at + 1
        self._at += 1
        if not stripped or stripped.startswith("#"):
            return
        text = self._continued(line.lstrip())
        name, _, rest = text.partition(" ") if " " in text else text.partition("\t")
        name = name.upper()
        if name not in INSTRUCTIONS:
            self.fail(begin, f"unknown instruction {name[:40]!r}")
        rest, flags = self._flags(rest.strip())
        heredocs = self._heredocs(rest, begin) if name in ("RUN", "COPY", "ADD") else ()
        if not rest and name != "MAINTAINER":
            self.fail(begin, f"{name} without anything behind it")
        self.instructions.append(Instruction(name, rest, begin, flags, heredocs))

    def _continued(self, text: str) -> str:
        """Join lines that end with the escape; comments and empty lines between them are gone."""
        while text.rstrip().endswith(self._escape):
            text = text.rstrip()[:-1]
            while self._at < len(self._lines):
                following = self._lines[self._at]
                self._at += 1
                if following.strip() and not following.lstrip().startswith("#"):
                    text += following
                    break
            else:
                break
        return text

    def _flags(self, rest: str) -> tuple[str, tuple[tuple[str, str], ...]]:
        flags = []
        while (match := _FLAG.match(rest)) is not None:
            flags.append((match[1], match[2] if match[2] is not None else "true"))
            rest = rest[match.end() :]
        return rest, tuple(flags)

    def _heredocs(self, rest: str, begin: int) -> tuple[Heredoc, ...]:
        found = []
        for match in _HEREDOC.finditer(rest):
            strip_tabs, quote, word = match[1], match[2], match[3]
            lines = []
            while True:
                if self._at >= len(self._lines):
                    self.fail(begin, f"the heredoc {word!r} has no end")
                line = self._lines[self._at]
                self._at += 1
                line = line.lstrip("\t") if strip_tabs else line
                if line == word:
                    break
                lines.append(line + "\n")
            found.append(Heredoc(word, "".join(lines), not quote))
        return tuple(found)


def json_list(text: str) -> list[str] | None:
    """Return the words of an exec form, None if it is no JSON list of strings."""
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    if isinstance(found, list) and all(isinstance(word, str) for word in found):
        return found
    return None


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``$A``, ``${A}``, ``${A:-default}`` and ``${A:+other}``; a backslash keeps a ``$``.

    Raises:
        ValueError: for another form of ``${``.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] is not None:
            return match[1] if match[1] == "$" else match[0]
        if match[6]:
            raise ValueError(f"{text[match.start() : match.start() + 20]!r} is no variable")
        found = variables.get(match[2] or match[3], "")
        if match[4] == ":-":
            return found or expand(match[5], variables)
        if match[4] == ":+":
            return expand(match[5], variables) if found else ""
        return found

    return _VARIABLE.sub(value, text)


def words(text: str) -> list[str]:
    """Split at white space; quotes and backslashes keep together what belongs together.

    Raises:
        ValueError: for a quote without its end.
    """
    found: list[str] = []
    word: list[str] | None = None
    quote = ""
    characters = iter(text)
    for character in characters:
        if quote:
            if character == quote:
                quote = ""
            elif character == "\\" and quote == '"':
                following = next(characters, "")
                word = word or []
                word.append(following if following in '"\\$' else f"\\{following}")
            else:
                (word := word if word is not None else []).append(character)
        elif character in "'\"":
            quote = character
            word = word if word is not None else []
        elif character.isspace():
            if word is not None:
                found.append("".join(word))
                word = None
        elif character == "\\":
            (word := word if word is not None else []).append(next(characters, ""))
        else:
            (word := word if word is not None else []).append(character)
    if quote:
        raise ValueError("a quote has no end")
    if word is not None:
        found.append("".join(word))
    return found


def pairs(text: str) -> list[tuple[str, str]]:
    """Return the pairs of ENV and LABEL: ``A=1 B="2 3"``, or the old ``A the rest``.

    Raises:
        ValueError: if it is neither.
    """
    first, _, rest = text.partition(" ")
    if "=" not in first:
        if not rest.strip():
            raise ValueError(f"{first!r} has no value")
        return [(first, rest.strip())]
    found = []
    for word in words(text):
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ValueError(f"{word!r} is not NAME=VALUE")
        found.append((name, value))
    return found
