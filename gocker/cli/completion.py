"""``gocker completion SHELL``: a script for bash, zsh or fish that asks gocker what may follow.

The scripts are few lines: they hand over the words, and `gocker completion --words` prints what
may be next, made from the parsers and, for services, from the spec. So they never are out of date.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from itertools import pairwise

from gocker.cli.options import Parser
from gocker.errors import GockerError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gocker.scheduler.launcher import Launcher

_BASH = """\
_gocker() {
    local IFS=$'\\n'
    COMPREPLY=($(COMP_WORDBREAKS= gocker completion --words "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
    if [ ${#COMPREPLY[@]} -eq 0 ]; then
        compopt -o default
    elif [[ ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace
    fi
}
complete -F _gocker gocker
"""  # noqa: E501  # a shell's line
_ZSH = """\
#compdef gocker
_gocker() {
    local -a found
    found=(${(f)"$(gocker completion --words "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    if (( ${#found} )); then compadd -- $found; else _files; fi
}
if [ "${funcstack[1]}" = "_gocker" ]; then _gocker "$@"; else compdef _gocker gocker; fi
"""
_FISH = """\
function __gocker_words
    set -l words (commandline -opc) (commandline -ct)
    gocker completion --words $words[2..-1] 2>/dev/null
end
complete -c gocker -a '(__gocker_words)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
# What a command's words are, by their metavar.
_SERVICES = ("SERVICE", "FILE|SERVICE")


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = Parser("completion", "Print a script that completes gocker's words in a shell.")
    made.add_argument("shell", nargs="?", choices=tuple(SCRIPTS), metavar="SHELL",
                      help="bash, zsh or fish")  # fmt: skip
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Print the script."""
    if arguments.shell is None:
        raise UsageError(
            "gocker completion: which shell?",
            hint='bash, zsh or fish; in ~/.bashrc: eval "$(gocker completion bash)"',
        )
    sys.stdout.write(SCRIPTS[arguments.shell])
    return 0


def complete(words: list[str]) -> int:
    """Print the words that may be in the last one's place; `words` are those after ``gocker``."""
    words = words or [""]
    found = [word for word in candidates(words) if word.startswith(words[-1])]
    sys.stdout.write("".join(f"{word}\n" for word in found))
    return 0


def candidates(words: list[str]) -> list[str]:
    """Return what the last of `words` (those after ``gocker``) may be; nothing means a file."""
    from gocker.cli.main import COMMANDS

    *before, last = words
    name = next((word for word in before if word in COMMANDS), None)
    if name is None:
        return ["--help", "--version"] if last.startswith("-") else [*COMMANDS]
    if name == "oci":
        return []
    made = import_module(f"gocker.cli.{COMMANDS[name][0]}").parser()
    actions = _public(made._actions)
    before.remove(name)
    if made._subparsers is not None:
        table = next(it for it in actions if isinstance(it, argparse._SubParsersAction))
        chosen = next((word for word in before if word in table.choices), None)
        if chosen is None:
            return list(table.choices)
        actions = _public(table.choices[chosen]._actions)
    return _of(actions, before, last)


def _public(actions: Iterable[argparse.Action]) -> list[argparse.Action]:
    return [action for action in actions if action.help != argparse.SUPPRESS]


def _of(actions: list[argparse.Action], before: list[str], last: str) -> list[str]:
    options = {option: action for action in actions for option in action.option_strings}
    owner = options.get(before[-1]) if before else None
    if owner is not None and owner.nargs != 0:
        return _values(owner, before)
    if last.startswith("-"):
        return [option for option in options if option.startswith("--") or len(last) < 2]
    found: list[str] = []
    for action in actions:
        if not action.option_strings:
            found += _values(action, before)
    return found


def _values(action: argparse.Action, before: list[str]) -> list[str]:
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    if action.metavar in _SERVICES or action.dest in ("attach", "no_attach"):
        return services(before)
    return []


def services(words: list[str]) -> list[str]:
    """Return the services of the spec that a command line names; none if it cannot be read."""
    from gocker.cli.project import split_files
    from gocker.spec.load import LoadOptions, load

    files = [value for word, value in pairwise(words)
             if word in ("-f", "--file")]  # fmt: skip
    if not files:
        files = split_files([word for word in words if not word.startswith("-")])[0]
    options = LoadOptions(files, environ=os.environ, consistency=False, resolve_env=False)
    try:
        return list(load(options).services)
    except GockerError:
        return []
