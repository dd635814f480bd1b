"""``gocker demo``: run the demonstration spec that comes with gocker."""

from __future__ import annotations

import argparse
import os

import gocker
from gocker.cli import up
from gocker.cli.options import say
from gocker.errors import InternalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.scheduler.launcher import Launcher

_NAME = "demo.yaml"


def parser() -> argparse.ArgumentParser:
    """Return the command's parser: everything that ``up`` takes but files."""
    made = up.parser()
    made.prog = "gocker demo"
    made.description = "Run the demonstration spec: limits, a retry, a report. Needs no image."
    return made


def execute(arguments: argparse.Namespace, launcher: Launcher) -> int:
    """Run the spec as ``up`` would; words are services of it."""
    path = spec()
    say(f"the spec is {path}")
    arguments.words = [path, *arguments.words]
    code = up.execute(arguments, launcher)
    say("gocker down -p demo --volumes removes its records, logs and volume")
    return code


def spec() -> str:
    """Return the spec's path: in the installed package, or in the checkout around it."""
    package = os.path.dirname(os.path.abspath(gocker.__file__))
    for directory in (os.path.join(package, "data"), os.path.dirname(package)):
        path = os.path.join(directory, "specs", _NAME)
        if os.path.isfile(path):
            return path
    raise InternalError(f"{_NAME} is missing from the installation in {package!r}")
