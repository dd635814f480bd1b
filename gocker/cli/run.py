"""``gocker run``: one service with another command, after what it depends on."""

from __future__ import annotations

import argparse
import os

from gocker.cli.oneoff import add_changes, change
from gocker.cli.options import add_limits, limited, load_options, make_plan, say, validate
from gocker.cli.options import parser as new_parser
from gocker.cli.pipes import wants_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.plan.model import Plan
    from gocker.report.summary import Summary
    from gocker.scheduler.launcher import Launcher


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = new_parser("run", "Run one service; the exit code is its program's.")
    add = made.add_argument
    add("service", metavar="SERVICE")
    add("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="instead of the service's")
    add_changes(made)
    add_limits(made)
    add("--no-deps", action="store_true", help="do not run what it depends on")
    add("--rm", action="store_true", help="accepted: nothing is ever kept")
    add("-i", "--interactive", action="store_true", help="accepted: input is always passed on")
    add("-t", "--tty", action="store_true",
        help="a terminal; the default where input and output are one")  # fmt: skip
    add("-T", "--no-tty", action="store_true", help="no terminal")
    add("-q", "--quiet", action="store_true", help="only the program's own output")
    return made


def execute(arguments: argparse.Namespace, launcher: Launcher) -> int:
    """Run the service; 125 if gocker failed, 126 cannot execute, 127 not found."""
    from gocker.cli.session import Session
    from gocker.log import Console
    from gocker.report.output import QueueSink
    from gocker.scheduler.messages import Options
    from gocker.spec.load import load as load_spec
    from gocker.state.roots import Roots

    loaded = load_spec(load_options(arguments, [arguments.service]))
    name = arguments.service
    change(loaded, arguments, terminal=wants_terminal(arguments))
    project = validate(arguments, loaded)
    with Roots.open(os.environ) as roots:
        plan = limited(arguments, make_plan(loaded, project, roots, job=name))
        stderr = QueueSink(2)
        console = Console(stderr, "none")
        keyboard = None
        if os.isatty(0) or wants_terminal(arguments):
            from gocker.scheduler.keyboard import Keyboard

            keyboard = Keyboard()
            _size(plan, name)
        stdin = None if os.isatty(0) else 0
        session = Session(
            plan, roots, launcher, console, stderr, prefix=False, stdin=stdin, only=name,
            keyboard=keyboard,
        )  # fmt: skip
        result = session.execute(Options(exit_code_from=name))
    if not arguments.quiet:
        _explain(session.summary, name)
    return result.exit_code


def _size(plan: Plan, name: str) -> None:
    """Let the program's terminal have the size of ours from the beginning."""
    from gocker.terminal import window_size

    size = window_size()
    if size is not None:
        for unit in plan.units.values():
            if unit.service == name:
                process = plan.containers[unit.name].config["process"]
                process["consoleSize"] = {"height": size[0], "width": size[1]}


def _explain(summary: Summary, name: str) -> None:
    """Say what the exit code alone does not: an OOM kill, a failed dependency ..."""
    from gocker.report.human import safe

    for row in summary.rows.values():
        if row.verdict in ("ok", None) or (row.instance == name and row.verdict == "exit"):
            continue
        detail = row.error or row.because or ""
        say(safe(f"gocker: {row.instance}: {row.verdict}{detail and ': '}{detail}"))
    for hint in summary.hints():
        say(safe(f"  hint: {hint}"))
