"""``gocker graph``: what waits for what. Needs no image, and makes nothing."""

from __future__ import annotations

import argparse
import sys

from gocker.cli.options import load, make_outline
from gocker.cli.options import parser as new_parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.scheduler.launcher import Launcher


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = new_parser("graph", "Draw what waits for what.")
    made.add_argument("words", nargs="*", metavar="FILE|SERVICE")
    made.add_argument("--format", choices=("text", "mermaid", "json"), default="text")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Print the graph."""
    from gocker.plan import graph

    draw = {"text": graph.text, "mermaid": graph.mermaid, "json": graph.as_json}
    plan = make_outline(*load(arguments, arguments.words))
    sys.stdout.write(draw[arguments.format](plan))
    return 0
