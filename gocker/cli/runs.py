"""``gocker runs``: the runs of a project that are still on record, and how they ended."""

from __future__ import annotations

import os
import sys

from gocker.cli.options import parser as new_parser
from gocker.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from gocker.cli.options import Parser
    from gocker.scheduler.launcher import Launcher
    from gocker.state.run import Run


_COLUMNS = {
    "Run": "RUN", "Project": "PROJECT", "Started": "STARTED", "State": "STATE",
    "Result": "RESULT", "Jobs": "JOBS", "Took": "TOOK",
}  # fmt: skip


def parser() -> Parser:
    """Return the command's parser."""
    made = new_parser("runs", "List the runs of a project, oldest first.")
    add = made.add_argument
    add("words", nargs="*", metavar="FILE")
    add("--all-projects", action="store_true")
    add("-q", "--quiet", action="store_true", help="only identifiers")
    add("--format", choices=("table", "json", "jsonl"), default="table")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Print the runs."""
    from gocker.cli.project import named
    from gocker.report.table import rows_as
    from gocker.state import lost
    from gocker.state.roots import Roots
    from gocker.state.run import runs

    project = None if arguments.all_projects else named(arguments, arguments.words)[0]
    with Roots.open(os.environ) as roots:
        lost.note(roots, project)
        found = runs(roots, project)
        if arguments.quiet:
            sys.stdout.write("".join(f"{run.id}\n" for run in found))
            return 0
        rows = [_row(run) for run in found]
    if arguments.format == "table":
        rows = [_for_people(row) for row in rows]
    sys.stdout.write(rows_as(rows, arguments.format, _COLUMNS))
    return 0


def _row(run: Run) -> dict[str, object]:
    from gocker.events import timestamp
    from gocker.report.summary import Summary
    from gocker.state.runlog import read

    with run.opened() as directory:
        try:
            summary = Summary.from_records(read("run.jsonl", dir_fd=directory))
        except HostError:
            summary = Summary()  # it ended before it had a log
    return {
        "Run": run.id, "Project": run.project, "Started": timestamp(run.created),
        "State": run.state, "ExitCode": summary.exit_code, "Reason": summary.reason,
        "Totals": summary.totals(), "DurationS": summary.duration_s, "Files": list(run.files),
        "Command": list(run.command), "Version": run.version,
    }  # fmt: skip


def _for_people(row: dict[str, object]) -> dict[str, object]:
    from gocker.report.human import duration

    code, totals, took = row["ExitCode"], row["Totals"], row["DurationS"]
    assert isinstance(totals, dict)  # noqa: S101  # for the type checker
    return {
        **row,
        "Started": str(row["Started"])[:19].replace("T", " "),
        "Result": "-" if code is None else f"{code} ({row['Reason']})",
        "Jobs": ", ".join(f"{number} {verdict}" for verdict, number in totals.items()) or "-",
        "Took": duration(took if isinstance(took, float) else None),
    }
