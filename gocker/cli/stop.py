"""``gocker stop``: end services, without removing what they left."""

from __future__ import annotations

from gocker.cli import lifecycle

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from gocker.cli.options import Parser
    from gocker.scheduler.launcher import Launcher


def parser() -> Parser:
    """Return the command's parser."""
    made = lifecycle.parser("stop", "Stop services, those first that depend on others.")
    made.add_argument("-t", "--timeout", type=lifecycle.seconds, metavar="SECONDS",
                      help="before SIGKILL; default: the service's own")  # fmt: skip
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Stop them and wait until they have ended."""
    return lifecycle.change(arguments, "stop", "stopped", {"timeout_s": arguments.timeout})
