"""``gocker inspect``: everything that is on record about containers, as JSON."""

from __future__ import annotations

import json
import os
import sys

from gocker.cli.options import parser as new_parser
from gocker.errors import GockerError, HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from gocker.cli.options import Parser
    from gocker.scheduler.launcher import Launcher
    from gocker.state.containers import ContainerState
    from gocker.state.planfile import PlanFile
    from gocker.state.run import Run


def parser() -> Parser:
    """Return the command's parser."""
    made = new_parser("inspect", "Print what is on record about containers, as JSON.")
    add = made.add_argument
    add("words", nargs="*", metavar="FILE|SERVICE", help="none: all containers of the run")
    add("--run", metavar="ID", help="another run than the last")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Print one array of objects; a service without a container is an error."""
    from gocker.cli.project import named
    from gocker.state import lost
    from gocker.state.containers import of_run
    from gocker.state.roots import Roots
    from gocker.state.run import Run, runs

    project, services = named(arguments, arguments.words)
    with Roots.open(os.environ) as roots:
        lost.note(roots, project)
        found = [Run.load(roots, arguments.run)] if arguments.run else runs(roots, project)
        if not found:
            raise HostError(f"project {project!r} has no run", hint="gocker runs --all-projects")
        run = found[-1]
        states = of_run(run)
        known = {name for item in states for name in (item.service, item.instance)}
        if missing := [name for name in services if name not in known]:
            raise HostError(f"no container of {', '.join(missing)} in run {run.id}")
        wanted = set(services) or known
        states = [item for item in states if {item.service, item.instance} & wanted]
        document = _documents(run, states)
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return 0


def _documents(run: Run, states: list[ContainerState]) -> list[dict[str, Any]]:
    from gocker.state import planfile, runlog

    limits: dict[str, list[dict[str, Any]]] = {}
    exits: dict[str, dict[str, Any]] = {}
    with run.opened() as directory:
        for record in runlog.read("run.jsonl", dir_fd=directory):
            if record["event"] in ("limit.applied", "limit.skipped"):
                limits.setdefault(record["container.id"], []).append(_limit(record))
            elif record["event"] == "container.exited":
                exits[record["container.id"]] = _figures(record)
    plan: PlanFile | None
    try:
        plan = planfile.read(run)
    except GockerError:
        plan = None  # the run was too short for it to be kept
    return [
        {**_state(item), "Limits": limits.get(item.id, []), "Used": exits.get(item.id),
         **_made(plan, item.instance), "Log": run.log_path(item.instance, item.attempt)}
        for item in states
    ]  # fmt: skip


def _state(item: ContainerState) -> dict[str, Any]:
    return {
        "ID": item.id, "Run": item.run_id, "Project": item.project, "Service": item.service,
        "Name": item.instance, "Attempt": item.attempt, "Image": item.image,
        "State": item.status, "Health": item.health, "Verdict": item.verdict, "Pid": item.pid,
        "Started": item.started, "ExitCode": item.exit_code, "Signal": item.exit_signal,
        "DurationS": item.duration_s,
    }  # fmt: skip


def _limit(record: dict[str, Any]) -> dict[str, Any]:
    keys = ("limit", "requested", "effective", "file", "reason")
    return {key: record[key] for key in keys if key in record}


def _figures(record: dict[str, Any]) -> dict[str, Any]:
    """Return what the kernel counted."""
    return {
        key: value for key, value in record.items()
        if key.startswith(("cpu.", "memory.", "pids.", "io."))
    }  # fmt: skip


def _made(plan: PlanFile | None, instance: str) -> dict[str, Any]:
    """Return how a container was made: OCI's configuration, without what was withheld."""
    if plan is None:
        return {"Config": None, "Withheld": []}
    made = plan.container(instance)
    return {
        "Config": made.config, "Layers": list(made.lower), "Profile": made.profile,
        "Withheld": plan.withheld(instance),
    }  # fmt: skip
