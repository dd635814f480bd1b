"""``gocker export``: see `gocker.cli.commit`."""

from __future__ import annotations

from gocker.cli.commit import execute, new_parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

__all__ = ["execute", "parser"]


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    return new_parser("export")
