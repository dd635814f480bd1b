"""``gocker create``: make everything ready that services need, and start nothing."""

from __future__ import annotations

from gocker.cli import up

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from gocker.scheduler.launcher import Launcher


def parser() -> argparse.ArgumentParser:
    """Return the command's parser: that of ``up``."""
    return up.parser("create", "Check a spec, make its volumes, note its containers; start none.")


def wants_detach(_: argparse.Namespace) -> float | None:
    """Return that it waits for the end of what there is to do."""
    return 0.0


def execute(arguments: argparse.Namespace, launcher: Launcher) -> int:
    """Do what ``up --no-start`` does."""
    arguments.no_start = True
    return up.execute(arguments, launcher)
