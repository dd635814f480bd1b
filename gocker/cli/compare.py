"""``gocker compare``: what became slower or hungrier between two runs."""

from __future__ import annotations

import argparse
import os
import sys

from gocker.cli.options import parser as new_parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.cli.options import Parser
    from gocker.report.compare import Change
    from gocker.scheduler.launcher import Launcher


def parser() -> Parser:
    """Return the command's parser."""
    made = new_parser("compare", "Tell what became slower or hungrier between two runs.")
    add = made.add_argument
    add("before", metavar="RUN", help="as `gocker runs` lists them")
    add("after", metavar="RUN", nargs="?", help="default: the last one of the same project")
    add("--threshold", type=_part, default=0.1, metavar="PERCENT",
        help="how much a figure has to differ; 10")  # fmt: skip
    add("--format", choices=("table", "json", "jsonl"), default="table")
    return made


def _part(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / 100
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage")
    return value


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Print the differences; 0 also where there are some: figures are no verdict."""
    from gocker.cli.report import source
    from gocker.report.compare import changes
    from gocker.report.summary import Summary
    from gocker.report.table import rows_as
    from gocker.state.roots import Roots
    from gocker.state.run import Run, runs

    with Roots.open(os.environ) as roots:
        before = Run.load(roots, arguments.before)
        after = Run.load(roots, arguments.after or runs(roots, before.project)[-1].id)
        old, new = (Summary.from_records(source(run).records()) for run in (before, after))
    found = changes(old, new, arguments.threshold)
    if not found and arguments.format == "table":
        sys.stdout.write(f"{before.id} and {after.id}: nothing differs by that much\n")
        return 0
    sys.stdout.write(rows_as([_row(change) for change in found], arguments.format))
    return 0


def _row(change: Change) -> dict[str, object]:
    return {
        "Job": change.instance, "What": change.what, "Before": change.before,
        "After": change.after, "Change": change.text,
    }  # fmt: skip
