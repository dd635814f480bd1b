"""``gocker version``."""

from __future__ import annotations

import argparse
import json
import sys

import gocker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.scheduler.launcher import Launcher


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = argparse.ArgumentParser(prog="gocker version", allow_abbrev=False)
    made.add_argument("--short", action="store_true")
    made.add_argument("--format", choices=("text", "json"), default="text")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Print the version."""
    if arguments.format == "json":
        text = json.dumps({"version": gocker.__version__, "python": sys.version.split()[0]})
    else:
        text = gocker.__version__ if arguments.short else f"gocker version {gocker.__version__}"
    sys.stdout.write(text + "\n")
    return 0
