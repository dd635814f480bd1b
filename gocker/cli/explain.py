"""``gocker explain``: what the posture refused a service, and which key of the spec allows it.

``gocker explain SERVICE`` runs the service once more with the same confinement, and has the kernel
report each refused system call (SECCOMP_FILTER_FLAG_LOG changes nothing for the program);
``gocker explain RUN/SERVICE`` looks at a past run, of which only its records and output are left.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from gocker.cli.options import load, load_options, make_plan, validate
from gocker.cli.options import parser as new_parser
from gocker.cli.project import split_files
from gocker.errors import UsageError
from gocker.report.human import safe
from gocker.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.cli.audit_log import AuditLog
    from gocker.plan.model import Container, Plan
    from gocker.plan.refusals import Refusal
    from gocker.scheduler.launcher import Launcher
    from gocker.state.roots import Roots

_LOG = "SECCOMP_FILTER_FLAG_LOG"
_ERRNO = 0x50000  # SECCOMP_RET_ERRNO, as audit records show it


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = new_parser("explain", "Tell what the posture refused, and which key allows it.")
    made.add_argument("words", nargs="+", metavar="FILE|SERVICE|RUN/SERVICE")
    made.add_argument("--format", choices=("table", "json"), default="table")
    return made


def execute(arguments: argparse.Namespace, launcher: Launcher) -> int:
    """Print what was refused; exit code 1 if that was more than libraries cope with."""
    from gocker.state.roots import Roots

    files, services = split_files(arguments.words)
    if len(services) != 1:
        raise UsageError("explain: name one service, or RUN/SERVICE")
    run, _, name = services[0].rpartition("/")
    with Roots.open(os.environ) as roots:
        if run:
            verdict, found = _past(arguments, files, roots, run, name)
        else:
            verdict, found = _again(arguments, files, roots, launcher, name)
    if arguments.format == "json":
        from dataclasses import asdict

        document = {"service": name, "result": verdict, "refused": [asdict(it) for it in found]}
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(_text(name, verdict, found, again=not run))
    return int(any(not item.benign for item in found))


def _again(
    arguments: argparse.Namespace, files: list[str], roots: Roots, launcher: Launcher, name: str
) -> tuple[str, list[Refusal]]:
    """Run the service once more, with the kernel telling what it refuses."""
    from gocker.cli.audit_log import AuditLog
    from gocker.cli.session import Session
    from gocker.log import Console
    from gocker.report.output import QueueSink
    from gocker.scheduler.messages import Options
    from gocker.spec.load import load as load_spec

    loaded = load_spec(load_options(arguments, [*files, name]))
    _once(loaded.model, name)
    plan = _logged(make_plan(loaded, validate(arguments, loaded), roots, job=name), name)
    numbers = launcher.call({"op": "names"})["names"]
    log = AuditLog()
    try:
        stderr = QueueSink(2)
        session = Session(plan, roots, launcher, Console(stderr, "none"), stderr, only="")
        session.execute(Options(exit_code_from=name))
        row = session.summary.rows[name]
        verdict = f"{row.verdict}, exit code {row.exit_code}"
        made = plan.containers[name]
        found = _calls(log, made, {number: call for call, number in numbers.items()})
        answers = {item.answer for item in found}
        more = _said(made, roots, session.run.id, name)
        # What the refused calls explain already is not said twice.
        return verdict, found + [it for it in more if it.specific or it.answer not in answers]
    finally:
        log.close()


def _once(model: dict[str, Any], name: str) -> None:
    """Make a service one that runs once, as ``gocker run`` does."""
    services = model.setdefault("services", {})
    if name in model.get("jobs", {}):
        services[name] = model.pop("jobs")[name]
    if name not in services:
        from gocker.cli.naming import no_such_service

        raise no_such_service([name], services)
    for key in ("restart", "scale", "ports"):
        services[name].pop(key, None)
    extension = services[name].get("x-gocker") or {}
    for key in ("matrix", "retry"):
        extension.pop(key, None)
    for key in ("replicas", "restart_policy"):
        (services[name].get("deploy") or {}).pop(key, None)


def _logged(plan: Plan, name: str) -> Plan:
    made = plan.containers[name]
    linux: Any = {**made.config["linux"]}
    if "seccomp" in linux:
        linux["seccomp"] = {**linux["seccomp"], "flags": [_LOG]}
    config: Any = {**made.config, "linux": linux}
    changed = replace(made, config=config)
    if made.landlock is not None:
        changed = replace(changed, landlock=replace(made.landlock, log=True))
    return replace(plan, containers={**plan.containers, name: changed})


def _calls(log: AuditLog, made: Container, names: dict[int, str]) -> list[Refusal]:
    from gocker.plan import refusals

    profile = made.config["linux"].get("seccomp")
    seen: dict[str, tuple[int, set[str]]] = {}
    for kind, fields in log.records():
        if kind == "seccomp":
            number = int(fields.get("syscall", -1))
            refused = int(fields.get("code", "0"), 16) == _ERRNO
            key = names.get(number, f"system call {number}") if refused else ""
        else:
            key = f"{fields.get('blockers', '')} {fields.get('path', '')}"
        times, by = seen.get(key, (0, set()))
        seen[key] = times + 1, by | {fields.get("comm", "?")}
    found = []
    for key, (times, by) in seen.items():
        if not key:
            found.append(refusals.foreign(times, by))
        elif " " in key and profile is not None and not key.startswith("system call"):
            found.append(refusals.landlock(key, times, by))
        elif profile is not None:
            found.append(refusals.call(profile, key, times, by))
    return found


def _said(made: Container, roots: Roots, run_id: str, name: str) -> list[Refusal]:
    from gocker.plan import refusals
    from gocker.state.logs import read_logs
    from gocker.state.run import Run

    run = Run.load(roots, run_id)
    text = b"".join(chunk for _, _, chunk in read_logs(run, {name}, tail=None, follow=False))
    return refusals.said(made, text.decode("utf-8", "replace"))


def _past(
    arguments: argparse.Namespace, files: list[str], roots: Roots, run: str, name: str
) -> tuple[str, list[Refusal]]:
    """Look at a run that is over: at its records, and at what the program said."""
    from gocker.state.containers import of_run
    from gocker.state.run import Run

    known = [item for item in of_run(Run.load(roots, run)) if name in (item.service, item.instance)]
    if not known:
        raise UsageError(f"no container of {name} in run {run}")
    loaded, project = load(arguments, files)
    plan = make_plan(loaded, project, roots)
    instance = known[-1].instance
    if instance not in plan.containers:
        raise UsageError(f"{instance} is not in the spec any more")
    return f"run {run}", _said(plan.containers[instance], roots, run, instance)


def _text(name: str, verdict: str, found: list[Refusal], *, again: bool) -> str:
    lines = [f"{safe(name)}: {verdict}"]
    for item in found:
        by = f" to {safe(item.by)}" if item.by else ""
        lines.append(f"  {item.answer:<7} {item.times}x  {safe(item.what)}{by}")
        lines.append(f"          {safe(item.allows)}")
    if not found:
        lines.append("  nothing was refused")
    if not again:
        lines.append(f"  (the calls themselves: gocker explain {safe(name)}, which runs it again)")
    return "\n".join(lines) + "\n"
