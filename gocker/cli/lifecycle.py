"""What stop, start, restart, kill, pause, unpause and rm share: a project, services, an answer."""

from __future__ import annotations

import argparse
import os

from gocker.cli.holding import ask_or
from gocker.cli.options import SPEC_OPTIONS, say
from gocker.cli.options import parser as new_parser
from gocker.cli.project import named, split_files
from gocker.errors import UsageError
from gocker.report.human import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.cli.options import Parser
    from gocker.scheduler.launcher import Launcher
    from gocker.state.control import Channel, Message
    from gocker.state.outcomes import UnitState
    from gocker.state.roots import Roots


def parser(name: str, text: str, *, short_file: bool = True) -> Parser:
    """Return the parser of a command about services of a project that is there already."""
    made = new_parser(name, text, short_file=short_file)
    made.add_argument("words", nargs="*", metavar="FILE|SERVICE", help="none: all services")
    made.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    return made


def seconds(text: str) -> float:
    """Return the number of seconds in an option.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e7:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


def change(
    arguments: argparse.Namespace, op: str, done: str, fields: dict[str, Any] | None = None,
    *, patience_s: float | None = None,
) -> int:  # fmt: skip
    """Ask the living project for a change of services; nothing is to do in a dead one.

    Args:
        arguments: of the command.
        op: the request.
        done: what to say of the services afterwards.
        fields: of the request, beside the units.
        patience_s: how long to wait for the answer.
    """
    from gocker.state.roots import Roots

    project, services = named(arguments, arguments.words)
    with Roots.open(os.environ) as roots:

        def living(channel: Channel) -> int:
            answer = channel.call(op, patience_s=patience_s, units=services, **(fields or {}))
            if answer is None:
                say(f"gocker: {op}: not done after {patience_s:g} s; it goes on")
                return 1
            return told(arguments, answer, done, services or [project])

        return ask_or(roots, project, living, lambda _: nothing_runs(roots, project, services))


def told(
    arguments: argparse.Namespace, answer: Message, done: str, names: list[str]
) -> int:  # fmt: skip
    """Say what an answer means; return its exit code."""
    if answer.get("because"):
        say(safe(f"gocker: {answer['because']} did not start as it should"))
    if not arguments.quiet:
        say(safe(f"{done} {', '.join(names)}"))
    return int(answer.get("exit_code", 0))


def up_again(
    arguments: argparse.Namespace, launcher: Launcher, project: str, services: list[str],
    *, wait: bool,
) -> int:  # fmt: skip
    """Begin a run with services of the project's last one; no services mean all of those.

    A stopped container leaves nothing behind that could be started: it is made anew, from the
    spec as it is now.
    """
    from gocker.cli import up
    from gocker.state.roots import Roots

    with Roots.open(os.environ) as roots:
        known = last_units(roots, project)
    check_names(known, services, project)
    names = services or list(dict.fromkeys(unit.service for unit in known.values()))
    if not names:
        raise UsageError(f"project {project!r} has no containers", hint="gocker up makes them")
    made = up.parser().parse_args(["--no-recreate", *(["--wait"] if wait else ["-d"])])
    for name in SPEC_OPTIONS:
        setattr(made, name, getattr(arguments, name))
    made.words = [*split_files(arguments.words)[0], *names]
    made.quiet = arguments.quiet
    return up.execute(made, launcher)


def nothing_runs(roots: Roots, project: str, services: list[str]) -> int:
    """Say that no container of the project runs: nothing was to be done.

    Raises:
        UsageError: a service that the project's last run does not know.
    """
    from gocker.state import lost

    for name in lost.note(roots, project):
        say(f"gocker: container {name} was lost with its supervisor")
    known = last_units(roots, project)
    check_names(known, services, project)
    say(safe(f"project {project!r} has no running containers"))
    return 0


def last_units(roots: Roots, project: str) -> dict[str, UnitState]:
    """Return the units of the project's last run by name; none if there is none."""
    from gocker.state.outcomes import of_run
    from gocker.state.run import runs

    found = runs(roots, project)
    return of_run(found[-1]) if found else {}


def check_names(known: dict[str, UnitState], names: list[str], project: str) -> None:
    """Refuse names that are no service and no instance.

    Raises:
        UsageError: naming them, where there is a run that would know them.
    """
    there = {name for unit in known.values() for name in (unit.instance, unit.service)}
    unknown = [name for name in names if name not in there]
    if known and unknown:
        from gocker.cli.naming import no_such_service

        raise no_such_service(unknown, there, f"project {project!r}: ")
