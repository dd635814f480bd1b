"""``gocker top``: the processes of running containers."""

from __future__ import annotations

import argparse
import os
import sys
from time import localtime, strftime

from gocker.cli.options import parser as new_parser
from gocker.cli.project import project_name
from gocker.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.scheduler.launcher import Launcher
    from gocker.state.living import Living
    from gocker.state.processes import Process


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = new_parser("top", "List the processes of running containers, as the host sees them.")
    made.add_argument("services", nargs="*", metavar="SERVICE")
    made.add_argument("--format", choices=("table", "json", "jsonl"), default="table")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Print the processes; services that do not run are an error."""
    from gocker.report.table import rows_as
    from gocker.state.living import running
    from gocker.state.processes import processes
    from gocker.state.roots import Roots

    with Roots.open(os.environ) as roots:
        found = running(roots, project_name(arguments))
    wanted = arguments.services
    known = {name for item in found for name in (item.service, item.instance)}
    if missing := [name for name in wanted if name not in known]:
        raise HostError(f"not running: {', '.join(missing)}", hint="gocker ps lists what runs")
    chosen = {
        item.cgroups_path: item for item in found
        if not wanted or {item.service, item.instance} & set(wanted)
    }  # fmt: skip
    rows = [_row(chosen[item.container], item) for item in processes(_first(chosen))]
    sys.stdout.write(rows_as(rows, arguments.format))
    return 0


def _first(chosen: dict[str, Living]) -> dict[str, int]:
    return {name: item.pid for name, item in chosen.items()}


def _row(living: Living, item: Process) -> dict[str, object]:
    """Return the columns, named as docker top's where it has the fact."""
    return {
        "Service": living.service,
        "Name": living.instance,
        "UID": item.uid,
        "PID": item.pid,
        "PPID": item.parent,
        "OwnPID": item.own_pid,
        "STAT": item.state,
        "TTY": item.terminal,
        "Threads": item.threads,
        "RSS": item.rss,
        "TIME": f"{int(item.cpu_s // 60)}:{item.cpu_s % 60:05.2f}",
        "STIME": strftime("%H:%M:%S", localtime(item.started)),
        "CMD": item.command,
    }
