"""``gocker kill``: send a signal to services."""

from __future__ import annotations

from gocker.cli import lifecycle
from gocker.errors import PlanError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from gocker.cli.options import Parser
    from gocker.scheduler.launcher import Launcher


def parser() -> Parser:
    """Return the command's parser."""
    made = lifecycle.parser("kill", "Send a signal to services' first processes.")
    made.add_argument("-s", "--signal", default="SIGKILL", help="a name or number; SIGKILL")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Send it; after SIGKILL and a service's stop signal no restart policy counts."""
    from gocker.plan.build import stop_signal

    try:
        number = stop_signal(arguments.signal)
    except PlanError as error:
        raise UsageError(f"-s: unknown signal {arguments.signal!r}", hint=error.hint) from error
    return lifecycle.change(arguments, "kill", "signalled", {"signal": number})
