"""``gocker validate``: everything that is wrong with a spec. Starts and makes nothing."""

from __future__ import annotations

import argparse
import json
import os
import sys

from gocker.cli.options import load, make_outline
from gocker.cli.options import parser as new_parser
from gocker.errors import PlanError, Problem, SpecError
from gocker.report.ci import command
from gocker.report.human import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.scheduler.launcher import Launcher


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = new_parser("validate", "Tell everything that is wrong with a spec.")
    made.add_argument("words", nargs="*", metavar="FILE|SERVICE")
    made.add_argument("--format", choices=("text", "github", "json"), default="text")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Print the problems; return 0 if there is none, else 2."""
    problems: list[Problem] = []
    ignored: list[Problem] = []
    warnings: list[str] = []
    units = 0
    try:
        loaded, project = load(arguments, arguments.words)
        warnings = loaded.warnings
        ignored = [_ignored(*item) for item in project.ignored]
        units = len(make_outline(loaded, project).units)
    except SpecError as error:
        problems = list(error.problems)
    except PlanError as error:
        file = arguments.file[0] if arguments.file else ""
        problems = [Problem(file, 1, 1, "", error.message, error.hint)]
    write = {"text": _text, "github": _github, "json": _json}[arguments.format]
    sys.stdout.write(write(problems, ignored, warnings, units))
    return SpecError.exit_code if problems else 0


def _ignored(path: str, place: str, reason: str) -> Problem:
    """Return a key without effect as a problem; `place` is ``file:line:column`` or empty."""
    file, line, column = (place or "spec:1:1").rsplit(":", 2)
    return Problem(file, int(line), int(column), path, f"has no effect: {reason}")


def _text(problems: list[Problem], ignored: list[Problem], warnings: list[str], units: int) -> str:
    lines = [f"{safe(str(problem))}" for problem in problems]
    lines += [f"warning: {safe(str(problem))}" for problem in ignored]
    lines += [f"warning: {safe(warning)}" for warning in warnings]
    if not problems:
        lines.append(f"valid: {units} instance{'' if units == 1 else 's'}")
    return "".join(f"{line}\n" for line in lines)


def _json(problems: list[Problem], ignored: list[Problem], warnings: list[str], units: int) -> str:
    document = {
        "valid": not problems,
        "instances": units,
        "problems": [problem.to_wire() for problem in problems],
        "ignored": [problem.to_wire() for problem in ignored],
        "warnings": warnings,
    }
    return json.dumps(document, indent=2) + "\n"


def _github(problems: list[Problem], ignored: list[Problem], warnings: list[str], _: int) -> str:
    """Return workflow commands: GitHub shows them at the lines of the files."""
    lines = [_command("error", problem) for problem in problems]
    lines += [_command("warning", problem) for problem in ignored]
    lines += [command("warning", warning) for warning in warnings]
    return "".join(f"{line}\n" for line in lines)


def _command(kind: str, problem: Problem) -> str:
    text = ": ".join(part for part in (problem.path, problem.message) if part)
    if problem.hint:
        text += f" ({problem.hint})"
    # GitHub knows files by their path in the repository, where the command runs.
    file = os.path.relpath(problem.file) if os.path.isabs(problem.file) else problem.file
    place = {"file": file, "line": str(problem.line), "col": str(problem.column)}
    return command(kind, text, place)
