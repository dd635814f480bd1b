"""``gocker wait``: until services are over; their exit code."""

from __future__ import annotations

import os
import sys

from gocker.cli import lifecycle
from gocker.cli.holding import join_kept
from gocker.cli.options import say
from gocker.cli.project import named
from gocker.errors import EXIT_TIMEOUT, UsageError
from gocker.report.human import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from gocker.cli.options import Parser
    from gocker.scheduler.launcher import Launcher
    from gocker.state.outcomes import UnitState
    from gocker.state.roots import Roots

# A unit that never had a container: gocker's own word (docs/errors.md).
_NEVER_RAN = 125


def parser() -> Parser:
    """Return the command's parser."""
    made = lifecycle.parser("wait", "Wait until services are over; exit with their exit code.")
    add = made.add_argument
    add("--down-project", action="store_true", help="bring the project down then")
    add("--timeout", type=lifecycle.seconds, metavar="SECONDS",
        help="wait no longer; the exit code is 124 then")  # fmt: skip
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Return the first exit code that is not 0, in the order of the arguments."""
    from gocker.state.roots import Roots

    project, services = named(arguments, arguments.words)
    if not services:
        raise UsageError("gocker wait: which services?", hint="gocker ps --services lists them")
    with Roots.open(os.environ) as roots:
        if not until_over(roots, project, services, arguments.timeout):
            say(f"gocker: wait: not over after {arguments.timeout:g} s")
            return EXIT_TIMEOUT
        codes = exit_codes(roots, project, services)
    if not arguments.quiet:
        for instance, code in codes.items():
            sys.stdout.write(safe(f"{instance} exited with code {code}") + "\n")
    if arguments.down_project:
        _down(arguments)
    return next(filter(None, codes.values()), 0)


def exit_codes(roots: Roots, project: str, services: list[str]) -> dict[str, int]:
    """Return the exit codes of services' instances, in the order of the services.

    Raises:
        UsageError: no run, or a service that it does not know.
    """
    from gocker.state import lost

    lost.note(roots, project)
    known = lifecycle.last_units(roots, project)
    if not known:
        raise UsageError(f"project {project!r} has no run", hint="gocker up starts one")
    lifecycle.check_names(known, services, project)
    return {
        unit.instance: _code(unit) for name in services for unit in known.values()
        if name in (unit.instance, unit.service)
    }  # fmt: skip


def until_over(roots: Roots, project: str, services: list[str], timeout_s: float | None) -> bool:
    """Wait until the services are over, or their run is; False if that takes too long."""
    from gocker.state.control import ControlLostError, connect
    from gocker.state.run import runs

    found = runs(roots, project)
    if not found:
        return True
    join_kept(roots, project)
    channel = connect(roots, project)
    if channel is None:
        return found[-1].wait(timeout_s)
    with channel:
        try:
            return channel.call("await", patience_s=timeout_s, units=services,
                                what="over") is not None  # fmt: skip
        except ControlLostError:
            return True


def _code(unit: UnitState) -> int:
    return _NEVER_RAN if unit.exit_code is None else unit.exit_code


def _down(arguments: argparse.Namespace) -> None:
    from gocker.cli import down
    from gocker.cli.main import new_launcher

    launcher = new_launcher()
    try:
        made: argparse.Namespace = down.parser().parse_args(
            ["-p", named(arguments, arguments.words)[0]]
        )
        down.execute(made, launcher)
    finally:
        launcher.close()
