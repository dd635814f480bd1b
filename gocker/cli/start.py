"""``gocker start``: run services again that have ended or were stopped."""

from __future__ import annotations

import os

from gocker.cli import lifecycle
from gocker.cli.holding import ask_or
from gocker.cli.project import named

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from gocker.cli.options import Parser
    from gocker.scheduler.launcher import Launcher
    from gocker.state.control import Channel


def parser() -> Parser:
    """Return the command's parser."""
    made = lifecycle.parser("start", "Start services that were stopped, and what they need.")
    add = made.add_argument
    add("--wait", action="store_true", help="until they are running or healthy")
    add("--wait-timeout", type=lifecycle.seconds, metavar="SECONDS")
    return made


def wants_detach(arguments: argparse.Namespace) -> float | None:
    """Return how long to wait for the start; the services of a dead project get a new run."""
    return float(arguments.wait_timeout or 0.0)


def execute(arguments: argparse.Namespace, launcher: Launcher) -> int:
    """Start them in the living project, or begin a run with them."""
    return again(arguments, launcher, "start", "started", {})


def again(
    arguments: argparse.Namespace, launcher: Launcher, op: str, done: str,
    fields: dict[str, object],
) -> int:  # fmt: skip
    """Start or restart services in the living project, or begin a run with them."""
    from gocker.state.roots import Roots

    project, services = named(arguments, arguments.words)
    what = "ready" if arguments.wait else "decided"

    def living(channel: Channel) -> int:
        answer = channel.ask_for(op, units=services, wait=what, **fields)
        return lifecycle.told(arguments, answer, done, services or [project])

    with Roots.open(os.environ) as roots:
        code = ask_or(roots, project, living, lambda _: None)
    if code is not None:
        return code
    return lifecycle.up_again(arguments, launcher, project, services, wait=arguments.wait)
