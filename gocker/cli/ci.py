"""``up`` in a CI's job: everything on standard output, in an order that makes sense afterwards.

While the run goes on, its events are shown. At its end come the outputs of what went well, each
in a group that is closed; then the table; then what failed, whole. Output is read from the log
files, so none is held in memory.
"""

from __future__ import annotations

import os
import secrets
import stat
import time

from gocker.cli.options import say
from gocker.errors import GockerError, HostError, SpecError
from gocker.report.ci import GitHub, GitLab, harmless, section_key, step_summary
from gocker.report.lines import Narrator
from gocker.report.output import Prefixer, Sink
from gocker.report.table import summary_as
from gocker.state.logs import last_lines, whole
from gocker.state.runlog import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gocker.cli.session import Session
    from gocker.plan.model import Plan
    from gocker.report.lines import Line, Record

# Of what went well: GitLab cuts a job's log at 4 MiB by default, and failures come last.
TAIL_LINES = 500
_MOST_TAIL = 1 << 16
_MOST_WELL = 2 << 20


def is_log(fd: int) -> bool:
    """Return whether a descriptor may be a CI's log: it is no file of the user's."""
    try:
        return not stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        return False


def begin(kind: str, sink: Sink, plan: Plan, *, json: bool) -> Sink:
    """Tell the CI which values to mask; return where the console's lines go."""
    sink.write(_speaker(kind).mask(plan.mask))
    return Defused(sink, json=json)


def close(
    kind: str, session: Session, plan: Plan, shown: Callable[[str], bool] | None,
    *, table: bool, colour: bool,
) -> None:  # fmt: skip
    """Show the groups, the table if wanted, and the failures of a run that has ended."""
    Closing(_speaker(kind), session, plan, shown, colour=colour).write(table=table)


def annotate(error: GockerError) -> None:
    """Have GitHub show an error, that of a spec at its line."""
    sink, speaker = Sink(2), _speaker("github")
    if isinstance(error, SpecError):
        for it in error.problems:
            message = f"{it.path}: {it.message}" if it.path else it.message
            place = (it.file, it.line)
            sink.write(speaker.annotation("error", "gocker: spec", message, place))
    else:
        sink.write(speaker.annotation("error", "gocker", error.message, ("", 0)))


class Defused(Sink):
    """A sink for the console's lines: commands of GitHub's runner in them are none."""

    def __init__(self, sink: Sink, *, json: bool) -> None:
        super().__init__(sink.fd)
        self._to = sink
        # In JSON it can only be within a string.
        self._by = b"##\\u005b" if json else b"## ["

    def write(self, data: bytes) -> None:
        """Write `data`, whole lines."""
        self._to.write(data.replace(b"##[", self._by))


def _speaker(kind: str) -> GitHub | GitLab:
    if kind == "gitlab":
        return GitLab()
    return GitHub(os.environ.get("GITHUB_WORKSPACE", ""), secrets.token_hex(16))


class Closing:
    """What is shown at the end of a run.

    Args:
        speaker: of this run.
        session: that has ended.
        shown: which services' output is wanted; None is all.
        colour: of the table.
    """

    def __init__(
        self, speaker: GitHub | GitLab, session: Session, plan: Plan,
        shown: Callable[[str], bool] | None, *, colour: bool,
    ) -> None:  # fmt: skip
        self._speaker = speaker
        self._session = session
        self._plan = plan
        self._shown = shown
        self._colour = colour
        self._sink = Sink(1)
        self._room = _MOST_WELL

    def write(self, *, table: bool) -> None:
        """Write the groups, the table if wanted, the failures, and the step summary."""
        failures: list[tuple[Record, Line]] = []
        ended: dict[str, list[Record]] = {}
        narrator = Narrator()
        for record in self._records():
            line = narrator.line(record)
            if record["event"] in ("container.exited", "container.failed"):
                ended.setdefault(record["instance"], []).append(record)
            elif record["event"] == "job.finished":
                if record["failed"]:
                    failures.append((record, line))
                else:
                    self._well(record, line, ended.get(record["instance"], []))
        if table:
            summary = summary_as(self._session.summary, "table", colour=self._colour)
            self._sink.write(f"\n{harmless(summary)}\n".encode())
        for record, line in failures:
            self._failed(record, line, ended.get(record["instance"], []))
        self._append_step_summary()

    def _records(self) -> Iterator[Record]:
        with self._session.run.opened() as directory:
            yield from read("run.jsonl", dir_fd=directory)

    def _well(self, record: Record, line: Line, attempts: list[Record]) -> None:
        for attempt in attempts[:-1]:
            self._earlier(attempt)
        instance = record["instance"]
        if line.level == "warning":
            self._annotate("warning", record, line)
        if attempts and self._wants(record):
            self._folded(f"{instance}: {line.what}: {line.detail}", record, attempts[-1]["attempt"])

    def _earlier(self, attempt: Record) -> None:
        if self._wants(attempt):
            title = f"{attempt['instance']}: attempt {attempt['attempt']}: {attempt['verdict']}"
            self._folded(title, attempt, attempt["attempt"])

    def _folded(self, title: str, record: Record, attempt: int) -> None:
        """Write the end of an output, folded; nothing once there was much of that."""
        instance = record["instance"]
        tail = last_lines(self._session.run, instance, attempt, TAIL_LINES, _MOST_TAIL)
        if tail and self._room > 0:
            self._room -= len(tail)
            self._output(title, instance, attempt, iter((tail,)), folded=True)

    def _failed(self, record: Record, line: Line, attempts: list[Record]) -> None:
        for attempt in attempts[:-1]:
            self._earlier(attempt)
        self._annotate("error", record, line)
        if self._wants(record):
            instance, number = record["instance"], attempts[-1]["attempt"] if attempts else 1
            title = f"{instance}: FAILED: {line.detail}; its output:"
            content = whole(self._session.run, instance, number)
            self._output(title, instance, number, content, folded=False)

    def _annotate(self, level: str, record: Record, line: Line) -> None:
        place = self._plan.places.get(record["service"], ("", 0))
        title = f"{line.who} {line.what}"
        detail = self._session.clean(line.detail)
        made = self._speaker.annotation(
            "error" if level == "error" else "warning", title, detail, place
        )
        self._sink.write(made)

    def _output(
        self, title: str, instance: str, attempt: int, content: Iterator[bytes], *, folded: bool
    ) -> None:  # fmt: skip
        key = section_key(instance, attempt)
        self._sink.write(self._speaker.open(title, key, int(time.time()), folded=folded))
        mask = self._session.mask
        lines = Prefixer(
            self._sink, instance, clean=True, mask=mask.data if mask else None, defuse=harmless
        )
        for chunk in content:
            lines.feed(chunk)
        lines.close()
        self._sink.write(self._speaker.close(key, int(time.time()), folded=folded))

    def _wants(self, record: Record) -> bool:
        return self._shown is None or self._shown(record["service"])

    def _append_step_summary(self) -> None:
        path = os.environ.get("GITHUB_STEP_SUMMARY")
        if not path or not isinstance(self._speaker, GitHub):
            return
        text = self._session.clean(step_summary(self._session.summary))
        try:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            with open(fd, "wb") as file:
                file.write(text.encode("utf-8", "replace"))
        except OSError as error:
            # The run's own result matters more than its table.
            say(f"gocker: no step summary: {HostError(f'{path!r}: {error.strerror}')}")
