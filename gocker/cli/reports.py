"""``up --report KIND=FILE`` and ``gocker report``: what became of a run."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import NamedTuple

from gocker.errors import HostError
from gocker.report.human import safe
from gocker.report.summary import Summary
from gocker.values import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gocker.cli.session import Session
    from gocker.plan.model import Plan
    from gocker.report.lines import Record
    from gocker.state.run import Run


class Wanted(NamedTuple):
    """A report to write: its kind and its file; ``-`` is standard output."""

    kind: str
    path: str


@dataclass(slots=True)
class Source:
    """A run that has ended, and what is known of it beside its log.

    `plan`: None where none was kept. `clean` takes out what must not be shown; None: that is not
    known any more, so nothing may be shown that the log has not. `merged`: JUnit files that jobs
    wrote, by instance, below the project's directory. `owner` (uid, gid) of the reports, None for
    ours.
    """

    run: Run
    plan: Plan | None
    clean: Callable[[str], str] | None
    merged: Mapping[str, list[str]] = field(default_factory=dict)
    owner: tuple[int, int] | None = None
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of_session(cls, session: Session, plan: Plan) -> Source:
        """Return that of a run which this process made."""
        return cls(session.run, plan, session.clean, session.reports, session.owner)

    def records(self) -> Iterator[Record]:
        """Yield the records of its log."""
        from gocker.state.runlog import read

        with self.run.opened() as directory:
            yield from read("run.jsonl", dir_fd=directory)

    def tail(self, instance: str, attempt: int) -> str:
        """Return the last lines of an attempt's output."""
        from gocker.report.junit import TAIL_LINES
        from gocker.state.logs import last_lines

        if self.clean is None:
            return ""
        lines = last_lines(self.run, instance, attempt, TAIL_LINES)
        return self.clean(lines.decode("utf-8", "replace"))


def wanted(word: str) -> Wanted:
    """Read ``junit=FILE``; a directory that is not there is told before anything runs."""
    kind, _, path = word.partition("=")
    if kind not in KINDS or not path:
        raise argparse.ArgumentTypeError(
            f"{word!r} is not KIND=FILE, KIND one of {', '.join(KINDS)}"
        )
    if path == "-":
        return Wanted(kind, path)
    path = os.path.abspath(path)
    if not os.path.isdir(os.path.dirname(path)) or os.path.isdir(path):
        raise argparse.ArgumentTypeError(f"cannot write {path!r}: no such directory, or it is one")
    return Wanted(kind, path)


def write(reports: list[Wanted], source: Source) -> list[str]:
    """Write the reports of a run that has ended; return what is to be said about them.

    Raises:
        HostError: if a file cannot be written.
    """
    for kind, path in reports:
        made = KINDS[kind](source)
        if path == "-":
            sys.stdout.buffer.write(made)
            sys.stdout.buffer.flush()
            continue
        try:
            with open(path, "wb") as file:
                file.write(made)
            if source.owner is not None:
                os.chown(path, *source.owner)
        except OSError as error:
            raise HostError(f"cannot write {path!r}: {error.strerror}") from error
    return source.notes


def _json(source: Source) -> bytes:
    summary = Summary.from_records(source.records())
    document = {**summary.as_json(), "totals": summary.totals()}
    return json.dumps(document, indent=2).encode() + b"\n"


def _html(source: Source) -> bytes:
    from gocker.report.history import History
    from gocker.report.html import page

    history = History(source.plan, source.clean)
    for record in source.records():
        history.add(record)
    return page(history.document(source.tail))


def _markdown(source: Source) -> bytes:
    from gocker.report.ci import step_summary

    return step_summary(Summary.from_records(source.records())).encode("utf-8", "replace")


def _prom(source: Source) -> bytes:
    from gocker.report.openmetrics import text

    return text(Summary.from_records(source.records())).encode("utf-8", "replace")


def _junit(source: Source) -> bytes:
    from gocker.report.junit import MAX_REPORT, Report

    plan = source.plan
    jobs: list[str] = []
    if plan is not None:
        jobs = [unit.name for unit in plan.units.values() if unit.role == "job"]
    else:
        jobs = list(Summary.from_records(source.records()).rows)
    report = Report(jobs, source.tail, source.clean or str)
    for record in source.records():
        report.add(record)
    for instance, files in source.merged.items():
        for name in files:
            path = os.path.join("" if plan is None else plan.directory, name)
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                with open(fd, "rb") as file:
                    report.merge(instance, file.read(MAX_REPORT + 1))
            except (OSError, ValueError) as error:
                source.notes.append(safe(f"{instance}: report {name!r} not merged: {error}"))
    return report.xml()


KINDS: dict[str, Callable[[Source], bytes]] = {
    "html": _html, "junit": _junit, "json": _json, "markdown": _markdown, "prom": _prom,
}  # fmt: skip
