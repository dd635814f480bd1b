"""``gocker ps``: list containers."""

from __future__ import annotations

import os
import sys

from gocker.cli import quick
from gocker.cli.project import named
from gocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from gocker.scheduler.launcher import Launcher
    from gocker.state.containers import ContainerState


STATES = {"running", "paused", "restarting", "exited", "failed", "lost"}


_QUICK = quick.Options(
    {"all": False, "all_projects": False, "quiet": False, "services": False, "status": [],
     "format": "table"},
    true={"-a": "all", "--all": "all", "--all-projects": "all_projects", "-q": "quiet",
          "--quiet": "quiet", "--services": "services"},
    more={"--status": "status"},
)  # fmt: skip


def quickly(words: list[str]) -> argparse.Namespace | None:
    """Return what `parser` makes of words, if that is plain without `argparse` (15 ms)."""
    found, rest = quick.parse(words, _QUICK)
    if found is not None:
        found.words = rest
    return found


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    from gocker.cli.options import parser as new_parser

    made = new_parser("ps", "List the containers of a project's last run, or of all projects.")
    add = made.add_argument
    add("words", nargs="*", metavar="FILE|SERVICE")
    add("-a", "--all", action="store_true", help="also containers that have ended")
    add("--all-projects", action="store_true")
    add("-q", "--quiet", action="store_true", help="only identifiers")
    add("--services", action="store_true", help="only names of services")
    add("--status", action="append", default=[], metavar="STATUS")
    add("--format", choices=("table", "json", "jsonl"), default="table")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Print the containers."""
    import gc

    gc.disable()  # thousands of records, none of them in a cycle
    from gocker.report.table import rows_as
    from gocker.state import lost
    from gocker.state.containers import LIVING, containers
    from gocker.state.roots import Roots

    project: str | None = None
    services: list[str] = []
    if not arguments.all_projects:
        project, services = named(arguments, arguments.words)
    if unknown := set(arguments.status) - STATES:
        raise UsageError(f"--status: unknown: {', '.join(sorted(unknown))}",
                         hint=f"one of {', '.join(sorted(STATES))}")  # fmt: skip
    with Roots.open(os.environ) as roots:
        lost.note(roots, project)
        found = containers(roots, project)
    if services:
        found = [item for item in found if {item.service, item.instance} & set(services)]
    wanted = set(arguments.status)
    if wanted:
        found = [item for item in found if item.status in wanted]
    elif not arguments.all:
        found = [item for item in found if item.status in LIVING]
    if arguments.quiet:
        text = "".join(f"{item.id}\n" for item in found)
    elif arguments.services:
        text = "".join(f"{name}\n" for name in dict.fromkeys(item.service for item in found))
    else:
        text = rows_as([_row(item) for item in found], arguments.format)
    sys.stdout.write(text)
    return 0


def _row(item: ContainerState) -> dict[str, object]:
    """Return the columns, named as docker compose's JSON where it has the fact."""
    return {
        "ID": item.id,
        "Project": item.project,
        "Service": item.service,
        "Name": item.instance,
        "Image": item.image,
        "State": item.status,
        "Health": item.health or "",
        "ExitCode": item.exit_code,
        "Verdict": item.verdict or "",
        "Attempt": item.attempt,
        "Pid": item.pid,
        "CreatedAt": item.started,
    }
