"""``gocker scale``: how many replicas of services run."""

from __future__ import annotations

from gocker.cli import up
from gocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from gocker.scheduler.launcher import Launcher


def parser() -> argparse.ArgumentParser:
    """Return the command's parser: that of ``up``."""
    return up.parser("scale", "Run so many replicas: gocker scale SERVICE=N.")


def wants_detach(_: argparse.Namespace) -> float | None:
    """Return that it waits for the start of new replicas."""
    return 0.0


def execute(arguments: argparse.Namespace, launcher: Launcher) -> int:
    """Do what ``up -d --no-recreate --scale`` does for those services."""
    counts = [word for word in arguments.words if "=" in word]
    if not counts:
        raise UsageError("gocker scale: SERVICE=N is wanted")
    arguments.scale = [*arguments.scale, *counts]
    files = [word for word in arguments.words if "=" not in word]
    arguments.words = [*files, *(word.partition("=")[0] for word in counts)]
    arguments.detach = True
    arguments.no_recreate = True
    return up.execute(arguments, launcher)
