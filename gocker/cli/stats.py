"""``gocker stats``: what running containers use, from their cgroups, again and again.

Needs no supervisor: a launcher of this command's own looks the containers up and reads.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from gocker.cli.options import parser as new_parser
from gocker.cli.project import project_name
from gocker.errors import ContainerError, HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.cli.options import Parser
    from gocker.scheduler.launcher import Launcher
    from gocker.state.living import Living
    from gocker.state.roots import Roots


_COLUMNS = {
    "Name": "NAME", "CPU": "CPU %", "Memory": "MEMORY / LIMIT", "MemoryPart": "MEM %",
    "Tasks": "TASKS / LIMIT", "Throttled": "THROTTLED", "IO": "READ / WRITTEN",
}  # fmt: skip
# Cursor to the first place, and everything below it cleared (ECMA-48 8.3.21, 8.3.39).
_HOME = "\x1b[H\x1b[J"


def parser() -> Parser:
    """Return the command's parser."""
    made = new_parser("stats", "Tell what running containers use, until Ctrl-C.")
    add = made.add_argument
    add("services", nargs="*", metavar="SERVICE")
    add("--all-projects", action="store_true")
    add("--no-stream", action="store_true", help="once, over one interval")
    add("--interval", type=_interval, default=1.0, metavar="TIME", help="between two looks; 1s")
    add("--format", choices=("table", "json", "jsonl"), default="table")
    return made


def _interval(text: str) -> float:
    from gocker.spec.units import parse_duration_ns

    try:
        seconds = parse_duration_ns(text) / 1e9
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not 0.01 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 10ms and 1h")
    return seconds


def execute(arguments: argparse.Namespace, launcher: Launcher) -> int:
    """Print the figures; a service that does not run is an error."""
    from gocker.report.table import rows_as
    from gocker.state.roots import Roots

    launcher.enters = True
    looks = Looks(launcher)
    project = None if arguments.all_projects else project_name(arguments)
    with Roots.open(os.environ) as roots:
        while True:
            looks.look(_chosen(roots, project, arguments.services))
            time.sleep(arguments.interval)  # the interval is what is asked for
            rows = looks.look(_chosen(roots, project, arguments.services))
            if arguments.format == "table":
                rows = [_for_people(row) for row in rows]
            text = rows_as(rows, arguments.format, _COLUMNS)
            clear = arguments.format == "table" and not arguments.no_stream and os.isatty(1)
            sys.stdout.write(_HOME + text if clear else text)
            sys.stdout.flush()
            if arguments.no_stream:
                return 0


def _chosen(roots: Roots, project: str | None, wanted: list[str]) -> list[Living]:
    from gocker.state.living import running

    found = running(roots, project)
    known = {name for item in found for name in (item.service, item.instance)}
    if missing := [name for name in wanted if name not in known]:
        raise HostError(f"not running: {', '.join(missing)}", hint="gocker ps lists what runs")
    return [item for item in found if not wanted or {item.service, item.instance} & set(wanted)]


class Looks:
    """Asks a launcher for figures, and remembers the CPU time of the look before."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._joined: set[str] = set()
        # Seconds of CPU time, and when they were read.
        self._before: dict[str, tuple[float, float]] = {}

    def look(self, containers: list[Living]) -> list[dict[str, Any]]:
        """Return one row for each container that still runs."""
        return [row for item in containers if (row := self._row(item)) is not None]

    def _row(self, item: Living) -> dict[str, Any] | None:
        try:
            if item.id not in self._joined:
                self._launcher.call({
                    "op": "join", "id": item.id, "pid": item.pid, "start_time": item.start_time,
                    "cgroups_path": item.cgroups_path, "paused": True,
                })  # fmt: skip
                self._joined.add(item.id)
            found = self._launcher.call({"op": "usage", "id": item.id})
        except ContainerError:
            return None  # it has ended
        if found["gone"]:
            return None
        user, system = found.get("cpu.user_s"), found.get("cpu.system_s")
        spent = None if user is None or system is None else user + system
        return {
            "ID": item.id, "Service": item.service, "Name": item.instance,
            "CPUPercent": self._percent(item.id, spent, found["t"]), "CPUSeconds": spent,
            "ThrottledSeconds": found.get("cpu.throttled_s"),
            "MemoryUsage": found.get("memory.usage"), "MemoryPeak": found.get("memory.peak"),
            "MemoryLimit": found.get("memory.limit"), "OOMKills": found.get("memory.oom_kills"),
            "Tasks": found.get("pids.current"), "TasksLimit": found.get("pids.limit"),
            "ReadBytes": found.get("io.read_bytes"), "WrittenBytes": found.get("io.write_bytes"),
        }  # fmt: skip

    def _percent(self, container: str, spent: float | None, now: float) -> float | None:
        """Return the CPU time since the look before, 100 for one CPU."""
        if spent is None:
            return None
        before = self._before.get(container)
        self._before[container] = (spent, now)
        if before is None or now <= before[1]:
            return None
        return round(100 * (spent - before[0]) / (now - before[1]), 2)


def _for_people(row: dict[str, Any]) -> dict[str, object]:
    from gocker.report.human import duration, size

    usage, limit = row["MemoryUsage"], row["MemoryLimit"]
    percent = row["CPUPercent"]
    read, written = row["ReadBytes"], row["WrittenBytes"]
    tasks = "-" if row["Tasks"] is None else str(row["Tasks"])
    return {
        "Name": row["Name"],
        "CPU": "-" if percent is None else f"{percent:.1f}",
        "Memory": size(usage) if limit is None else f"{size(usage)} / {size(limit)}",
        "MemoryPart": f"{100 * usage / limit:.1f}" if usage is not None and limit else "-",
        "Tasks": tasks if row["TasksLimit"] is None else f"{tasks} / {row['TasksLimit']}",
        "Throttled": duration(row["ThrottledSeconds"] or None),
        "IO": "-" if read is None and written is None else f"{size(read)} / {size(written)}",
    }
