"""``gocker events``: what happened and happens in a project, from its run's log."""

from __future__ import annotations

import os
import sys
import time

from gocker.cli import lifecycle
from gocker.cli.options import say
from gocker.cli.project import named
from gocker.errors import UsageError
from gocker.report.human import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from typing import Any

    from gocker.cli.options import Parser
    from gocker.scheduler.launcher import Launcher
    from gocker.state.roots import Roots
    from gocker.state.run import Run


def parser() -> Parser:
    """Return the command's parser."""
    made = lifecycle.parser("events", "Show a run's events, past ones and those to come.")
    add = made.add_argument
    add("--json", action="store_true", help="as --format json")
    add("--format", choices=("table", "json", "jsonl"), default="table",
        help="json, jsonl: one record of the run's log per line")  # fmt: skip
    add("--since", metavar="TIME", help="RFC 3339, seconds since 1970, or an age as 10m")
    add("--until", metavar="TIME", help="the same; in the future: until then")
    add("--no-follow", action="store_true", help="only what has happened")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Print the events of the project's last run, until it ends."""
    from gocker.report.lines import Narrator
    from gocker.state import lost
    from gocker.state.roots import Roots
    from gocker.state.run import runs

    project, services = named(arguments, arguments.words)
    since, until = moment(arguments.since), moment(arguments.until)
    as_json = arguments.json or arguments.format != "table"
    narrator = Narrator()
    with Roots.open(os.environ) as roots:
        lost.note(roots, project)
        found = runs(roots, project)
        if not found:
            say(safe(f"project {project!r} has no run"))
            return 0
        for raw, record in _records(roots, project, found[-1], arguments.no_follow, until):
            line = narrator.line(record)
            if services and not {record.get("service"), record.get("instance")} & set(services):
                continue
            if not _between(record["time"], since, until):
                continue
            if as_json:
                sys.stdout.buffer.write(raw)
            else:
                text = f"{record['time']} {record['event']} {line.who} {line.detail}"
                sys.stdout.write(safe(text.rstrip()) + "\n")
            sys.stdout.flush()
    return 0


def _records(
    roots: Roots, project: str, run: Run, past: bool, until: float | None
) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield the lines and records of a run's log, as they come until the run ends."""
    from gocker.state import runlog
    from gocker.state.control import ControlLostError, connect

    channel = None if past else connect(roots, project)
    if channel is not None:
        channel.ask("watch")
    with run.opened() as fd:
        log_fd = os.open("run.jsonl", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    rest = b""
    with open(log_fd, "rb") as file:
        while True:
            *lines, rest = (rest + file.read()).split(b"\n")
            for line in lines:
                record = runlog.parse(line + b"\n")
                if record is not None:
                    yield line + b"\n", record
            if channel is None:
                return
            if until is not None and time.time() >= until:
                channel.close()
                return
            try:
                left = None if until is None else time.monotonic() + until - time.time()
                channel.receive(left)
            except ControlLostError:
                channel.close()
                channel = None  # once more: what came last


def _between(when: str, since: float | None, until: float | None) -> bool:
    if since is None and until is None:
        return True
    from datetime import datetime

    seconds = datetime.fromisoformat(when).timestamp()
    return (since is None or seconds >= since) and (until is None or seconds <= until)


def moment(text: str | None) -> float | None:
    """Return a point in time as seconds since 1970.

    Raises:
        UsageError: it is none.
    """
    if text is None:
        return None
    from datetime import datetime

    from gocker.spec.units import parse_duration_ns

    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        pass
    try:
        return time.time() - parse_duration_ns(text) / 1e9
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no time", hint="as 2026-01-31T12:00:00Z, 1769860800 or 10m"
        ) from error
