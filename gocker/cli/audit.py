"""``gocker audit``: a spec against CIS Docker, section 5, and Kubernetes' "restricted"."""

from __future__ import annotations

import argparse
import os
import sys

from gocker.cli.options import load, make_plan
from gocker.cli.options import parser as new_parser
from gocker.report.human import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from gocker.plan.audit import Finding
    from gocker.scheduler.launcher import Launcher


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = new_parser("audit", "Check a spec; exit code 1 if a check fails.")
    made.add_argument("words", nargs="*", metavar="FILE|SERVICE")
    made.add_argument("--standard", choices=("all", "cis", "k8s"), default="all")
    made.add_argument("--ignore", action="append", default=[], metavar="ID", help="CIS 5.12 ...")
    made.add_argument("--all", action="store_true", help="also what is as it should be")
    made.add_argument("--format", choices=("table", "json", "jsonl"), default="table")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Print the findings; 1 if there is one that is not ok and not ignored."""
    from gocker.plan.audit import audit
    from gocker.report.security import by_service
    from gocker.state.roots import Roots

    loaded, project = load(arguments, arguments.words)
    with Roots.open(os.environ) as roots:
        plan = make_plan(loaded, project, roots)
    first = {unit.service: name for name, unit in reversed(plan.units.items())}
    found = [
        item
        for service in by_service(plan)
        for item in audit(service, plan.containers[first[service]], plan.units[first[service]])
        if _wanted(item, arguments)
    ]
    shown = found if arguments.all else [item for item in found if not item.ok]
    sys.stdout.write(_text(shown, found, arguments.format))
    return int(any(not item.ok for item in found))


def _wanted(item: Finding, arguments: argparse.Namespace) -> bool:
    standard = item.id.split()[0].lower()
    return arguments.standard in ("all", standard) and item.id not in arguments.ignore


def _text(
    shown: list[Finding], found: list[Finding], form: Literal["table", "json", "jsonl"]
) -> str:
    if form != "table":
        from dataclasses import asdict

        from gocker.report.table import rows_as

        return rows_as([asdict(item) for item in shown], form)
    from gocker.report.table import align

    rows = [["SERVICE", "CHECK", "RESULT", "WHAT", "FOUND", "SEE"]]
    rows += [
        [safe(item.service), item.id, "ok" if item.ok else "FAIL", item.title, safe(item.detail),
         item.remedy]
        for item in shown
    ]  # fmt: skip
    bad = sum(not item.ok for item in found)
    lines = [line.rstrip() for line in align(rows, left=6)] if shown else []
    return "\n".join([*lines, f"{len(found)} checks, {bad} failed"]) + "\n"
