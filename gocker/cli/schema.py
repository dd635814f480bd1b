"""``gocker schema``: the JSON Schema of specs, or of a run's records."""

from __future__ import annotations

import argparse
import json
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.scheduler.launcher import Launcher


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = argparse.ArgumentParser(
        prog="gocker schema", allow_abbrev=False,
        description="Print the JSON Schema of specs; editors find it by the first line of a spec: "
        "# yaml-language-server: $schema=PATH",
    )  # fmt: skip
    made.add_argument("--events", action="store_true", help="of the records in run.jsonl instead")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Print the schema."""
    if arguments.events:
        from gocker import events

        sys.stdout.write(json.dumps(events.json_schema(), indent=2) + "\n")
    else:
        from gocker.spec.jsonschema import text

        sys.stdout.write(text())
    return 0
