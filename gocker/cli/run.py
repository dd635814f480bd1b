"""``gocker run``: one service with another command, after what it depends on."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from gocker.cli.options import load, make_plan
from gocker.cli.options import parser as new_parser
from gocker.errors import UsageError

if TYPE_CHECKING:
    from gocker.scheduler.launcher import Launcher
    from gocker.spec.model import Project


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = new_parser("run", "Run one service; the exit code is its program's.")
    add = made.add_argument
    add("service", metavar="SERVICE")
    add("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="instead of the service's")
    add("-e", "--env", action="append", default=[], metavar="NAME[=VALUE]")
    add("-u", "--user", metavar="USER")
    add("-w", "--workdir", metavar="DIR")
    add("--entrypoint", metavar="COMMAND")
    add("--no-deps", action="store_true", help="do not run what it depends on")
    add("--rm", action="store_true", help="accepted: nothing is ever kept")
    add("-T", "--no-tty", action="store_true", help="accepted: there is no terminal")
    add("-q", "--quiet", action="store_true", help="only the program's own output")
    return made


def execute(arguments: argparse.Namespace, launcher: Launcher) -> int:
    """Run the service; 125 if gocker failed, 126 cannot execute, 127 not found."""
    from gocker.cli.session import Session
    from gocker.log import Console
    from gocker.report.output import Sink
    from gocker.scheduler.messages import Options
    from gocker.state.roots import Roots

    loaded, project = load(arguments, [arguments.service])
    name = arguments.service
    project = _changed(project, arguments)
    with Roots.open(os.environ) as roots:
        plan = make_plan(loaded, project, roots, job=name)
        console = Console(Sink(2), "none" if arguments.quiet else "text", level="warning")
        stdin = None if os.isatty(0) else 0
        session = Session(plan, roots, launcher, console, prefix=False, stdin=stdin, only=name)
        result = session.execute(Options(exit_code_from=name))
    return result.exit_code


def _changed(project: Project, arguments: argparse.Namespace) -> Project:
    """Return the project with the service as the command line wants it."""
    service = project.services.get(arguments.service) or project.jobs.get(arguments.service)
    if service is None:
        raise UsageError(f"no such service: {arguments.service!r}")
    change: dict[str, Any] = {"scale": 1, "restart": None}
    if arguments.command:
        change["command"] = tuple(arguments.command)
    if arguments.entrypoint is not None:
        import shlex

        change["entrypoint"] = tuple(shlex.split(arguments.entrypoint))
        change.setdefault("command", ())
    if arguments.env:
        change["environment"] = {**service.environment, **_variables(arguments.env)}
    if arguments.user is not None:
        change["user"] = arguments.user
    if arguments.workdir is not None:
        change["working_dir"] = arguments.workdir
    if arguments.no_deps:
        change["depends_on"] = {}
    changed = service.model_copy(update=change)
    services = {**project.services, arguments.service: changed}
    if arguments.no_deps:
        services = {arguments.service: changed}
    return project.model_copy(update={"services": services, "jobs": {}})


def _variables(words: list[str]) -> dict[str, str]:
    found = {}
    for word in words:
        name, sign, value = word.partition("=")
        if sign:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
        else:
            print(f"gocker: -e {name}: not set here", file=sys.stderr)  # noqa: T201  # cli prints
    return found
