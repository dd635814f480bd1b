"""``gocker gc``: remove what dead runs of all projects left on the machine."""

from __future__ import annotations

import argparse
import json
import os
import sys

from gocker.cli.options import Parser, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.scheduler.launcher import Launcher


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = Parser("gc", "Remove what dead runs of all projects left: processes, cgroups, files.")
    add = made.add_argument
    add("--dry-run", action="store_true", help="only tell what would be removed")
    add("--format", choices=("text", "json"), default="text")
    return made


def execute(arguments: argparse.Namespace, launcher: Launcher | None) -> int:
    """Remove the leftovers; running containers, finished runs and volumes stay."""
    from gocker.cli.collect import collect
    from gocker.scheduler.launcher import Launcher
    from gocker.scheduler.spawn import spawn
    from gocker.state.roots import Roots

    own = launcher is None  # `--dry-run` starts none for commands that do not run containers
    launcher = launcher or Launcher(*spawn())
    try:
        with Roots.open(os.environ) as roots:
            found = collect(launcher, roots, dry_run=arguments.dry_run)
    finally:
        if own:
            launcher.close()
    if arguments.format == "json":
        items = [{"kind": item.kind, "name": item.name, "kept": item.kept} for item in found]
        sys.stdout.write(json.dumps({"dry_run": arguments.dry_run, "items": items}) + "\n")
        return 0
    would = "would be " if arguments.dry_run else ""
    for item in found:
        if item.kept is None:
            say(f"{would}removed: {item.kind} {item.name}")
        else:
            say(f"{would}kept: {item.kind} {item.name} ({item.kept})")
    if not found:
        say("nothing to remove")
    return 0
