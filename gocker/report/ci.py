"""What CI systems read in a job's log: groups, annotations, masks. Pure: text in, bytes out.

GitHub: "Workflow commands for GitHub Actions"; which lines its runner obeys is in
actions/runner, ActionCommand.cs: ``::name`` at a line's begin, after any white space, and
``##[name]`` anywhere in it. GitLab: "Custom collapsible sections"; a section's marker ends in
CR and CSI 0K. So output of a container loses its controls and CRs, stands behind a prefix, and
at GitHub commands are off meanwhile, under a word that nobody can guess.
"""

from __future__ import annotations

import os
import re

from gocker.report.human import duration, safe, size
from gocker.report.mask import MIN_LENGTH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Literal

    from gocker.report.summary import Row, Summary

    Level = Literal["error", "warning"]

# GitHub shows no more of each level in one step.
MOST_ANNOTATIONS = 10
# Of one annotation: the runner refuses a longer one.
_MAX_MESSAGE = 4096
# Of a step summary's table; GitHub takes 1 MiB in all.
_MOST_ROWS = 1000


def detect(environ: Mapping[str, str]) -> str:
    """Return which CI's job this is: ``github``, ``gitlab`` or ``none``."""
    if environ.get("GITHUB_ACTIONS") == "true":
        return "github"
    return "gitlab" if environ.get("GITLAB_CI") == "true" else "none"


def harmless(text: str) -> str:
    """Return text without anything that GitHub's runner would take for a command."""
    text = text.replace("##[", "## [")
    if "::" not in text:
        return text
    return "\n".join(
        line.replace("::", ": :", 1) if line.lstrip().startswith("::") else line
        for line in text.split("\n")
    )


class GitHub:
    """Workflow commands.

    Args:
        workspace: the repository's directory, to which places of annotations are relative.
        token: ends what `verbatim` began; fresh and random.
    """

    def __init__(self, workspace: str, token: str) -> None:
        self._workspace = workspace
        self._token = token
        self._annotations: dict[Level, int] = {"error": 0, "warning": 0}

    def mask(self, values: Iterable[str]) -> bytes:
        """Have the runner replace these values in all that follows, of other steps, too."""
        lines = {line.strip() for value in values for line in value.splitlines()}
        return b"".join(
            _line("add-mask", line) for line in sorted(lines) if len(line) >= MIN_LENGTH
        )

    def open(self, title: str, _key: str, _now: int, *, folded: bool) -> bytes:
        """Begin a container's output; `folded` into a line that opens by a click."""
        head = _line("group", title) if folded else f"{harmless(title)}\n".encode()
        return head + f"::stop-commands::{self._token}\n".encode()

    def close(self, _key: str, _now: int, *, folded: bool) -> bytes:
        """End a container's output."""
        return f"::{self._token}::\n".encode() + (b"::endgroup::\n" if folded else b"")

    def annotation(self, level: Level, title: str, message: str, place: tuple[str, int]) -> bytes:
        """Return what shows a message at a line of the spec; nothing after the tenth of a level."""
        self._annotations[level] += 1
        if self._annotations[level] > MOST_ANNOTATIONS:
            return b""
        file, line = place
        where = {"file": self._relative(file), "line": str(line)} if line else {}
        return _line(level, message[:_MAX_MESSAGE], {**where, "title": title})

    def _relative(self, path: str) -> str:
        full = os.path.abspath(path)
        inside = self._workspace and full.startswith(self._workspace.rstrip("/") + "/")
        return os.path.relpath(full, self._workspace) if inside else path


class GitLab:
    """Sections. Masks and annotations are settings of the project there, not lines of a log."""

    def mask(self, _values: Iterable[str]) -> bytes:
        """Return nothing: gocker masks what it shows itself."""
        return b""

    def open(self, title: str, key: str, now: int, *, folded: bool) -> bytes:
        """Begin a container's output; `now` is the time in whole seconds."""
        option = "[collapsed=true]" if folded else ""
        return f"\x1b[0Ksection_start:{now}:{key}{option}\r\x1b[0K{title}\n".encode()

    def close(self, key: str, now: int, *, folded: bool) -> bytes:  # noqa: ARG002  # as GitHub's
        """End a container's output."""
        return f"\x1b[0Ksection_end:{now}:{key}\r\x1b[0K\n".encode()

    def annotation(self, level: Level, title: str, message: str, place: tuple[str, int]) -> bytes:
        """Return a line that begins with the place, as compilers write it."""
        file, line = place
        where = f"{file}:{line}: " if line else ""
        return f"{safe(f'{where}{level}: {title}: {message}')}\n".encode()


def section_key(instance: str, attempt: int) -> str:
    """Return a name for a section: of what GitLab allows in one."""
    return f"gocker_{re.sub('[^A-Za-z0-9_.-]', '_', instance)}_{attempt}"


def step_summary(summary: Summary) -> str:
    """Return the table of a run as GitHub's Markdown."""
    rows = summary.ordered()[::-1]
    lines = [
        f"### gocker: {_cell(summary.project)}: exit code {summary.exit_code}",
        "",
        "| service | verdict | exit | time | memory | tries |",
        "|---|---|---|---|---|---|",
        *(_row(row) for row in rows[:_MOST_ROWS]),
    ]
    if len(rows) > _MOST_ROWS:
        lines += ["", f"… and {len(rows) - _MOST_ROWS} more"]
    if hints := summary.hints():
        lines += ["", *(f"- {_cell(hint)}" for hint in hints[:20])]
    return "\n".join(lines) + "\n\n"


def _row(row: Row) -> str:
    verdict = row.verdict or "unfinished"
    mark = "❌" if row.failed else "✅" if verdict == "ok" else "⚠️"
    ended = row.exit_signal or ("-" if row.exit_code is None else str(row.exit_code))
    memory = size(row.memory_peak)
    if row.memory_limit is not None:
        memory += f" / {size(row.memory_limit)}"
    cells = (
        row.instance, f"{mark} {verdict}", ended, duration(row.duration_s), memory,
        str(row.attempts),
    )  # fmt: skip
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    """Return text that Markdown shows as it is, in one cell."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&!])", r"\\\1", safe(text))


def command(name: str, data: str, properties: Mapping[str, str] | None = None) -> str:
    """Return a workflow command (actions/toolkit, command.ts: what is escaped)."""
    words = ",".join(f"{key}={_escaped(value, ':,')}" for key, value in (properties or {}).items())
    return f"::{name}{f' {words}' if words else ''}::{_escaped(data)}"


def _line(name: str, data: str, properties: Mapping[str, str] | None = None) -> bytes:
    return f"{command(name, data, properties)}\n".encode()


def _escaped(text: str, more: str = "") -> str:
    for char in f"%\r\n{more}":
        text = text.replace(char, f"%{ord(char):02X}")
    return text.encode("utf-8", "replace").decode()
