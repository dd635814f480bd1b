"""``gocker exec``: another program in a running container, confined as its first one.

Needs no supervisor: the container is found by its record and entered by a launcher of this
command's own, which ends with it.
"""

from __future__ import annotations

import os
import sys

from gocker.cli import quick
from gocker.cli.project import project_name
from gocker.errors import ContainerError, HostError, UsageError
from gocker.plan import further

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from gocker import oci
    from gocker.cli.console import Console
    from gocker.plan.model import Container
    from gocker.scheduler.launcher import Launcher
    from gocker.state.living import Living


_QUICK = quick.Options(
    {"detach": False, "env": [], "detach_keys": None, "interactive": False, "tty": False,
     "no_tty": False, "user": None, "workdir": None, "index": None, "privileged": False},
    true={"-d": "detach", "--detach": "detach", "-i": "interactive",
          "--interactive": "interactive", "-t": "tty", "--tty": "tty", "-T": "no_tty",
          "--no-tty": "no_tty"},
    value={"-u": "user", "--user": "user", "-w": "workdir", "--workdir": "workdir"},
    more={"-e": "env", "--env": "env"},
)  # fmt: skip


def quickly(words: list[str]) -> argparse.Namespace | None:
    """Return what `parser` makes of words, if that is plain without `argparse` (15 ms)."""
    found, rest = quick.parse(words, _QUICK, end_at_word=True)
    if found is None or not rest:
        return None
    found.service, *command = rest
    found.command = command[command[:1] == ["--"] :]
    return found


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    import argparse

    from gocker.cli.options import parser as new_parser

    made = new_parser("exec", "Run a program in a running container; the exit code is its own.")
    add = made.add_argument
    add("-d", "--detach", action="store_true", help="do not wait for it")
    add("-e", "--env", action="append", default=[], metavar="NAME[=VALUE]")
    add("--detach-keys", metavar="KEYS", help="what to type to leave it running; ctrl-p,ctrl-q")
    add("-i", "--interactive", action="store_true", help="accepted: input is always passed on")
    add("-t", "--tty", action="store_true",
        help="a terminal; the default where input and output are one")  # fmt: skip
    add("-T", "--no-tty", action="store_true", help="no terminal")
    add("-u", "--user", metavar="USER[:GROUP]")
    add("-w", "--workdir", metavar="DIR")
    add("--index", type=int, metavar="N", help="of the service's containers, from 1")
    add("--privileged", action="store_true", help="refused: it would leave the confinement")
    add("service", metavar="SERVICE")
    add("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    return made


def execute(arguments: argparse.Namespace, launcher: Launcher) -> int:
    """Run the command; 125 if gocker failed, 126 cannot execute, 127 not found."""
    from gocker.cli.execution import Execution
    from gocker.cli.pipes import Pipes, wants_terminal
    from gocker.state.living import choose, running
    from gocker.state.roots import Roots

    arguments.command = arguments.command[arguments.command[:1] == ["--"] :]
    _check(arguments)
    name = project_name(arguments)
    try:
        with Roots.open(os.environ) as roots:
            living = choose(running(roots, name), arguments.service, arguments.index)
            made, withheld = living.made()
        request = process(made, arguments, withheld_values(living, withheld))
        stdio: Console | Pipes = Pipes(detached=arguments.detach)
        if not arguments.detach and wants_terminal(arguments):
            stdio = terminal(request, arguments.detach_keys)
        if _sees_us(made):
            from gocker.cli.main import new_launcher

            launcher.close()
            launcher = new_launcher()
        with launcher:
            return Execution(launcher, living, made, request, stdio, detach=arguments.detach).run()
    except HostError as error:  # 3 would be a code of the program's own
        raise ContainerError(error.message, hint=error.hint, phase="exec") from None


def _sees_us(made: Container) -> bool:
    """Return whether the container could look at a process of ours on its way into it.

    It is not dumpable, which CAP_SYS_PTRACE in the initial user namespace overrides (ptrace(2),
    "Ptrace access mode checking"): then it has to be one with a read-only interpreter.
    """
    config = made.config
    bounding = config["process"].get("capabilities", {}).get("bounding", [])
    return "CAP_SYS_PTRACE" in bounding and "uidMappings" not in config["linux"]


def terminal(request: oci.Process, keys: str | None) -> Console:
    """Let a program have a terminal of the size of ours; return what copies to and from it.

    Raises:
        UsageError: `keys` are no keys.
    """
    from gocker.cli.console import Console
    from gocker.terminal import DETACH_KEYS, detach_keys, window_size

    request["terminal"] = True
    size = window_size()
    if size is not None:
        request["consoleSize"] = {"height": size[0], "width": size[1]}
    if not any(item.startswith("TERM=") for item in request.get("env", ())):
        request["env"] = [*request.get("env", ()), "TERM=xterm"]
    return Console(detach_keys(DETACH_KEYS if keys is None else keys))


def _check(arguments: argparse.Namespace) -> None:
    if arguments.privileged:
        raise UsageError(
            "gocker exec: --privileged is refused: a program in a container never gets more than "
            "the container has",
            hint="give the service what it needs (cap_add), or use nsenter(1) on the host",
        )
    if not arguments.command:
        raise UsageError("gocker exec: no command", hint="gocker exec SERVICE COMMAND [ARGUMENT]")


def process(
    made: Container, arguments: argparse.Namespace, values: Iterable[str] = ()
) -> oci.Process:
    """Return OCI's process for a program beside the container's own one.

    Args:
        made: how the container was made.
        arguments: with ``command``, ``env``, ``user`` and ``workdir``.
        values: variables (``NAME=value``) that are not in `made`.
    """
    return further.process(
        made.config["process"], arguments.command,
        env=(*values, *variables(arguments.env)), cwd=arguments.workdir, user=arguments.user,
    )  # fmt: skip


def variables(words: Iterable[str]) -> list[str]:
    """Return ``NAME=value`` for each word of -e; one without a value has the caller's."""
    found = []
    for word in words:
        name, sign, _ = word.partition("=")
        if not name:
            raise UsageError(f"-e {word!r}: a variable without a name")
        if sign:
            found.append(word)
        elif name in os.environ:
            found.append(f"{name}={os.environ[name]}")
        else:
            print(f"gocker: -e {name}: not set here", file=sys.stderr)  # noqa: T201  # cli prints
    return found


def withheld_values(living: Living, names: list[str]) -> list[str]:
    """Return variables that are kept from the disk, as the container's program got them."""
    if not names:
        return []
    try:
        with open(f"/proc/{living.pid}/environ", "rb") as file:
            items = file.read().decode("utf-8", "surrogateescape").split("\0")
    except OSError as error:
        raise ContainerError(f"container {living.id} is not running", phase="exec") from error
    return [item for item in items if item.partition("=")[0] in names]
