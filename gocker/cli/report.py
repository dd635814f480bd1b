"""``gocker report``: the reports of a run that is over, from what is stored of it."""

from __future__ import annotations

import os
import sys

from gocker.cli.options import colour, say
from gocker.cli.options import parser as new_parser
from gocker.cli.reports import KINDS, Source, wanted, write
from gocker.errors import GockerError, HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from gocker.cli.options import Parser
    from gocker.scheduler.launcher import Launcher
    from gocker.state.roots import Roots
    from gocker.state.run import Run


def parser() -> Parser:
    """Return the command's parser."""
    made = new_parser("report", "Show what became of a run, or write reports of it.")
    add = made.add_argument
    add("run", nargs="?", metavar="RUN", help="as `gocker runs` lists them; default: the last one")
    add("reports", nargs="*", type=wanted, metavar="KIND=FILE",
        help=f"{', '.join(KINDS)}; - is standard output")  # fmt: skip
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Print the run's table, or write the reports asked for."""
    from gocker.report.summary import Summary
    from gocker.report.table import summary_text
    from gocker.state.roots import Roots

    if arguments.run is not None and "=" in arguments.run:  # no run was named
        arguments.reports.insert(0, wanted(arguments.run))
        arguments.run = None
    with Roots.open(os.environ) as roots:
        run = find(roots, arguments, arguments.run)
        made = source(run)
        if arguments.reports:
            for note in write(arguments.reports, made):
                say(f"gocker: {note}")
            return 0
        summary = Summary.from_records(made.records())
        sys.stdout.write(summary_text(summary, colour=colour(arguments, 1)))
    return 0


def find(roots: Roots, arguments: argparse.Namespace, run_id: str | None) -> Run:
    """Return a run by its identifier; without one, the last one of the project.

    Raises:
        HostError: there is none.
    """
    from gocker.cli.project import project_name
    from gocker.state.run import Run, runs

    if run_id is not None:
        return Run.load(roots, run_id)
    project = project_name(arguments)
    found = runs(roots, project)
    if not found:
        raise HostError(f"project {project!r} has no run", hint="gocker runs --all-projects")
    return found[-1]


def source(run: Run) -> Source:
    """Return a stored run with what is known of it; says what is not."""
    from gocker.state import planfile

    try:
        kept = planfile.read(run)
        plan = kept.plan()
    except GockerError:
        return Source(run, None, str, notes=[
            "this run was too short for its plan to be kept: its dependencies are not known"
        ])  # fmt: skip
    if kept.masked:
        return Source(run, plan, None, notes=[
            "output is left out: the run had secrets, which only `up --report` can mask"
        ])  # fmt: skip
    return Source(run, plan, str)
