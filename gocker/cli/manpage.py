"""The manual page ``gocker(1)``, made from the parsers: ``python -m gocker.cli.manpage``.

roff(7) by man(7)'s macros. The wheel has it: see .hatch_build.py, whose build has no
dependencies of gocker's, so parsers need none.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from gocker.cli.main import COMMANDS

_HEAD = r""".TH GOCKER 1 "" "gocker" "User Commands"
.SH NAME
gocker \- batches of containers from one YAML file
.SH SYNOPSIS
.B gocker
.I COMMAND
.RI [ OPTIONS ]
.SH DESCRIPTION
Runs the services and jobs of a Compose file, each in a container of its own, without a daemon.
The exit code tells the truth, limits hold or nothing runs, and a kill has a reason.
.SH COMMANDS
"""
_TAIL = r""".SH EXIT STATUS
.TP
.B 0
every job did its work
.TP
.B 1
a job failed
.TP
.B 2
the spec or the command line is wrong
.TP
.B 3
this machine cannot
.TP
.B 70
a bug of gocker's own
.TP
.BR 125 ", " 126 ", " 127
of run and exec: no container; a program that cannot be executed; no such program
.TP
.B 130, 143
stopped by SIGINT, SIGTERM
.SH ENVIRONMENT
.TP
.B GOCKER_DATA_ROOT, GOCKER_RUN_ROOT
where runs, images and volumes are, and what lives no longer than the machine's boot
.TP
.B GOCKER_PROJECT_NAME, COMPOSE_PROJECT_NAME
the project's name
.TP
.B NO_COLOR, FORCE_COLOR
no colours, colours
.TP
.B GITHUB_ACTIONS, GITLAB_CI
output is a CI's log: see \-\-ci
.SH SEE ALSO
.BR runc (8),
.BR crun (1),
.BR cgroups (7),
.BR namespaces (7)
"""


def page() -> str:
    """Return the manual page."""
    parts = [_HEAD]
    for name, (module, _, text) in COMMANDS.items():
        parts.append(f".SS {_quoted(f'gocker {name}')}\n{_escaped(text)}\n")
        if name != "oci":
            parts.append(_options(import_module(f"gocker.cli.{module}").parser()))
    return "".join([*parts, _TAIL])


def _options(made: argparse.ArgumentParser) -> str:
    lines = []
    for action in made._actions:
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._HelpAction):
            continue
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                lines.append(f".TP\n.B {_escaped(name)}\n{_escaped(below.description or '')}\n")
            continue
        lines.append(f".TP\n{_term(action)}\n{_escaped(_help(action))}\n")
    return "".join(lines)


def _help(action: argparse.Action) -> str:
    text = action.help or ""
    choices = [str(it) for it in action.choices or ()]
    if choices and action.metavar is not None:
        choices = []
    return f"{text} ({', '.join(choices)})".strip() if choices else text


def _term(action: argparse.Action) -> str:
    value = action.metavar or (action.dest.upper() if not action.choices else "VALUE")
    shown = str(value if isinstance(value, str) else " ".join(value))
    if not action.option_strings:
        return f".I {_escaped(shown)}"
    options = ", ".join(action.option_strings)
    return f".BI {_quoted(options)} {_quoted(f' {shown}')}" if action.nargs != 0 else (
        f".B {_quoted(options)}"
    )  # fmt: skip


def _escaped(text: str) -> str:
    r"""Return text as roff shows it; a line never begins with a request."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("%%", "%")
    return rf"\&{text}" if text[:1] in (".", "'") else text


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


if __name__ == "__main__":
    sys.stdout.write(page())
