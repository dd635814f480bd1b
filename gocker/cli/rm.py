"""``gocker rm``: remove what stopped services left: their logs."""

from __future__ import annotations

import os
import sys

from gocker.cli import lifecycle
from gocker.cli.holding import ask_or
from gocker.cli.options import say
from gocker.cli.project import named
from gocker.errors import UsageError
from gocker.report.human import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from gocker.cli.options import Parser
    from gocker.scheduler.launcher import Launcher
    from gocker.state.control import Channel
    from gocker.state.roots import Roots


def parser() -> Parser:
    """Return the command's parser."""
    # As in docker compose, where -f FILE stands before the command: here the word is a file.
    made = lifecycle.parser(
        "rm", "Remove the logs of services that are over; they left no more.", short_file=False
    )
    add = made.add_argument
    add("-f", "--force", action="store_true", help="do not ask")
    add("-s", "--stop", action="store_true", help="stop the services first")
    add("-v", "--volumes", action="store_true",
        help="anonymous volumes, too: they have gone with their containers")  # fmt: skip
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Remove them; what still runs is left alone, and named."""
    from gocker.state.roots import Roots

    project, services = named(arguments, arguments.words)
    with Roots.open(os.environ) as roots:
        if arguments.stop:

            def living(channel: Channel) -> None:
                channel.ask_for("stop", units=services, timeout_s=None)

            ask_or(roots, project, living, lambda _: None)
        return _remove(arguments, roots, project, services)


def _remove(arguments: argparse.Namespace, roots: Roots, project: str, services: list[str]) -> int:
    from gocker.state.logs import remove_logs
    from gocker.state.run import runs

    found = runs(roots, project)
    known = lifecycle.last_units(roots, project)
    lifecycle.check_names(known, services, project)
    alive = bool(found) and found[-1].alive()
    chosen = [
        unit for unit in known.values()
        if not services or {unit.instance, unit.service} & set(services)
    ]  # fmt: skip
    over = {unit.instance for unit in chosen if unit.over or not alive}
    for unit in chosen:
        if unit.instance not in over and not arguments.quiet:
            say(safe(f"gocker: {unit.instance} is running; -s stops it"))
    if not over:
        say("no stopped containers")
        return 0
    if not arguments.force:
        _ask(sorted(over))
    removed = sum(remove_logs(run, over) for run in found)
    if not arguments.quiet:
        say(safe(f"removed {', '.join(sorted(over))}: {removed} logs"))
    return 0


def _ask(names: list[str]) -> None:
    """Ask whether to go on.

    Raises:
        UsageError: no, or nobody can be asked.
    """
    if not os.isatty(0):
        raise UsageError("gocker rm: nobody can be asked", hint="-f removes without asking")
    sys.stderr.write(safe(f"Going to remove {', '.join(names)}") + "\nAre you sure? [yN] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was removed")
