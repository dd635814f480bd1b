"""``gocker ls``: projects, and what runs of them."""

from __future__ import annotations

import os
import sys

from gocker.cli.options import Parser
from gocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from gocker.scheduler.launcher import Launcher
    from gocker.state.run import Run


def parser() -> Parser:
    """Return the command's parser."""
    made = Parser("ls", "List projects with running containers.")
    add = made.add_argument
    add("-a", "--all", action="store_true", help="also those of which nothing runs")
    add("-q", "--quiet", action="store_true", help="only names")
    add("--filter", action="append", default=[], metavar="name=PATTERN")
    add("--format", choices=("table", "json", "jsonl"), default="table")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Print the projects by name."""
    from gocker.report.human import safe
    from gocker.report.table import rows_as
    from gocker.state import lost
    from gocker.state.roots import Roots
    from gocker.state.run import runs

    patterns = [_pattern(word) for word in arguments.filter]
    latest: dict[str, Run] = {}
    with Roots.open(os.environ) as roots:
        lost.note(roots)
        for run in runs(roots):
            if run.project:
                latest[run.project] = run
        rows = []
        for name, run in sorted(latest.items()):
            if not all(pattern in name for pattern in patterns):
                continue
            status, running = _status(run)
            if running or arguments.all:
                rows.append({
                    "Name": name, "Status": status, "ConfigFiles": ",".join(run.files),
                    "Run": run.id,
                })  # fmt: skip
    if arguments.quiet:
        sys.stdout.write("".join(f"{safe(row['Name'])}\n" for row in rows))
    else:
        sys.stdout.write(rows_as(rows, arguments.format))
    return 0


def _pattern(word: str) -> str:
    name, _, value = word.partition("=")
    if name != "name" or not value:
        raise UsageError(f"--filter {word}: only name=PATTERN is known")
    return value


def _status(run: Run) -> tuple[str, bool]:
    """Return how many containers are in which state, as docker compose writes it."""
    from gocker.state.containers import LIVING, of_run

    counts: dict[str, int] = {}
    for item in {item.instance: item for item in of_run(run)}.values():
        counts[item.status] = counts.get(item.status, 0) + 1
    text = ", ".join(f"{status}({count})" for status, count in sorted(counts.items()))
    return text or "created", any(status in LIVING for status in counts)
