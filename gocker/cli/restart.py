"""``gocker restart``: end services and start them again."""

from __future__ import annotations

from gocker.cli import lifecycle, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from gocker.cli.options import Parser
    from gocker.scheduler.launcher import Launcher


def parser() -> Parser:
    """Return the command's parser."""
    made = lifecycle.parser("restart", "Restart services, and those that depends_on says.")
    add = made.add_argument
    add("-t", "--timeout", type=lifecycle.seconds, metavar="SECONDS",
        help="before SIGKILL; default: the service's own")  # fmt: skip
    add("--no-deps", action="store_true", help="only the named services")
    add("--wait", action="store_true", help="until they are running or healthy")
    add("--wait-timeout", type=lifecycle.seconds, metavar="SECONDS")
    return made


wants_detach = start.wants_detach


def execute(arguments: argparse.Namespace, launcher: Launcher) -> int:
    """Restart them in the living project, or begin a run with them."""
    fields = {"timeout_s": arguments.timeout, "dependents": not arguments.no_deps}
    return start.again(arguments, launcher, "restart", "restarted", fields)
