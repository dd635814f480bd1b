"""``up --report KIND=FILE``: what became of a run, for programs."""

from __future__ import annotations

import argparse
import json
import os
from typing import NamedTuple

from gocker.errors import HostError
from gocker.report.human import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.cli.session import Session
    from gocker.plan.model import Plan

KINDS = ("junit", "json")


class Wanted(NamedTuple):
    """A report to write: its kind and its file."""

    kind: str
    path: str


def wanted(word: str) -> Wanted:
    """Read ``junit=FILE``; a directory that is not there is told before anything runs."""
    kind, _, path = word.partition("=")
    if kind not in KINDS or not path:
        raise argparse.ArgumentTypeError(
            f"{word!r} is not {' or '.join(f'{k}=FILE' for k in KINDS)}"
        )
    path = os.path.abspath(path)
    if not os.path.isdir(os.path.dirname(path)) or os.path.isdir(path):
        raise argparse.ArgumentTypeError(f"cannot write {path!r}: no such directory, or it is one")
    return Wanted(kind, path)


def write(reports: list[Wanted], session: Session, plan: Plan) -> list[str]:
    """Write the reports of a run that has ended; return what is to be said about them.

    Raises:
        HostError: if a file cannot be written.
    """
    notes: list[str] = []
    for kind, path in reports:
        made = _junit(session, plan, notes) if kind == "junit" else _json(session)
        try:
            with open(path, "wb") as file:
                file.write(made)
            if session.owner is not None:
                os.chown(path, *session.owner)
        except OSError as error:
            raise HostError(f"cannot write {path!r}: {error.strerror}") from error
    return notes


def _json(session: Session) -> bytes:
    summary = session.summary
    document = {**summary.as_json(), "totals": summary.totals()}
    return json.dumps(document, indent=2).encode() + b"\n"


def _junit(session: Session, plan: Plan, notes: list[str]) -> bytes:
    from gocker.log import read
    from gocker.report.junit import MAX_REPORT, TAIL_LINES, Report
    from gocker.state.logs import last_lines

    jobs = [unit.name for unit in plan.units.values() if unit.role == "job"]
    clean = session.mask.text

    def tail(instance: str, attempt: int) -> str:
        lines = last_lines(session.run, instance, attempt, TAIL_LINES)
        return clean(lines.decode("utf-8", "replace"))

    report = Report(jobs, tail, clean)
    with session.run.opened() as directory:
        for record in read("run.jsonl", dir_fd=directory):
            report.add(record)
    for instance, files in session.reports.items():
        for name in files:
            path = os.path.join(plan.directory, name)
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                with open(fd, "rb") as file:
                    report.merge(instance, file.read(MAX_REPORT + 1))
            except (OSError, ValueError) as error:
                notes.append(safe(f"{instance}: report {name!r} not merged: {error}"))
    return report.xml()
