"""``gocker unpause``: Let the processes of paused services go on."""

from __future__ import annotations

from gocker.cli import lifecycle

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from gocker.cli.options import Parser
    from gocker.scheduler.launcher import Launcher


def parser() -> Parser:
    """Return the command's parser."""
    return lifecycle.parser("unpause", "Let the processes of paused services go on.")


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Ask for it."""
    return lifecycle.change(arguments, "unpause", "unpaused")
