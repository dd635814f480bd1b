"""``gocker attach``: a running container's output as it comes, and signals to it."""

from __future__ import annotations

import os
import signal

from gocker.cli import lifecycle
from gocker.cli.options import say
from gocker.cli.project import named
from gocker.errors import HostError, UsageError
from gocker.state.control import ControlLostError, connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from gocker.cli.options import Parser
    from gocker.scheduler.launcher import Launcher
    from gocker.state.control import Channel


def parser() -> Parser:
    """Return the command's parser."""
    made = lifecycle.parser("attach", "Show a running container's output, standard error apart.")
    add = made.add_argument
    add("--index", type=int, metavar="N", help="of the service's replicas")
    add("--no-stdin", action="store_true", help="accepted: a container without -i reads nothing")
    add("--sig-proxy", choices=("true", "false"), nargs="?", const="true", default="true",
        help="hand SIGINT and SIGTERM on; false: they end the command only")  # fmt: skip
    add("--detach-keys", metavar="KEYS", help="for terminals")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Stay until the container ends; the exit code is the container's."""
    from gocker.state.roots import Roots

    project, names = named(arguments, arguments.words)
    if len(names) != 1:
        raise UsageError("gocker attach: one service is wanted")
    unit = names[0] if arguments.index is None else f"{names[0]}-{arguments.index}"
    if arguments.detach_keys:
        raise UsageError("--detach-keys: this container has no terminal")
    with Roots.open(os.environ) as roots:
        channel = connect(roots, project)
    if channel is None:
        raise HostError(f"project {project!r} has no running containers",
                        hint="gocker up -d starts it")  # fmt: skip
    with channel:
        return _stay(channel, unit, proxy=arguments.sig_proxy == "true")


def _stay(channel: Channel, unit: str, *, proxy: bool) -> int:
    number = channel.ask("attach", (1, 2), unit=unit)
    signal.signal(signal.SIGTERM, _interrupt)
    sent = 0
    while True:
        try:
            message = channel.receive()
            if message is not None and message["id"] == number:
                return _ended(message)
            if message is not None and "error" in message:
                say(f"gocker: {message['error']['message']}")
        except KeyboardInterrupt as error:
            caught = error.args[0] if error.args else signal.SIGINT
            if not proxy:
                return 128 + int(caught)
            sent += 1
            channel.ask("kill", units=[unit], signal=int(caught))
        except ControlLostError:
            return 137 if not sent else 130


def _ended(message: dict[str, object]) -> int:
    from gocker.errors import from_wire

    if "error" in message:
        raise from_wire(message["error"])  # type: ignore[arg-type]  # the wire's form
    if message["lost"]:
        say(f"gocker: too slow: {message['lost']} bytes behind; gocker logs has all of it")
        return 1
    code = message["exit_code"]
    return code if isinstance(code, int) else 125


def _interrupt(number: int, _: object) -> None:
    raise KeyboardInterrupt(number)
