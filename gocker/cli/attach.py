"""``gocker attach``: a running container's output as it comes, and signals to it."""

from __future__ import annotations

import _socket as socket
import os
import selectors
import signal

from gocker.cli import lifecycle
from gocker.cli.holding import join_kept
from gocker.cli.options import say
from gocker.cli.project import named
from gocker.errors import HostError, UsageError
from gocker.scheduler.keyboard import Keyboard
from gocker.state.control import ControlLostError, connect
from gocker.terminal import DETACH_KEYS, detach_keys, receive_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from gocker.cli.options import Parser
    from gocker.scheduler.launcher import Launcher
    from gocker.state.control import Channel


def parser() -> Parser:
    """Return the command's parser."""
    made = lifecycle.parser("attach", "Type into a running container and see its output.")
    add = made.add_argument
    add("--index", type=int, metavar="N", help="of the service's replicas")
    add("--no-stdin", action="store_true", help="read nothing")
    add("--sig-proxy", choices=("true", "false"), nargs="?", const="true", default="true",
        help="hand SIGINT and SIGTERM on; false: they end the command only")  # fmt: skip
    add("--detach-keys", metavar="KEYS", help="what to type to leave; ctrl-p,ctrl-q")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Stay until the container ends; the exit code is the container's."""
    from gocker.state.roots import Roots

    keys = detach_keys(DETACH_KEYS if arguments.detach_keys is None else arguments.detach_keys)
    project, names = named(arguments, arguments.words)
    if len(names) != 1:
        raise UsageError("gocker attach: one service is wanted")
    unit = names[0] if arguments.index is None else f"{names[0]}-{arguments.index}"
    with Roots.open(os.environ) as roots:
        join_kept(roots, project)
        channel = connect(roots, project)
    if channel is None:
        raise HostError(f"project {project!r} has no running containers",
                        hint="gocker up -d starts it")  # fmt: skip
    with channel:
        attached = Attached(channel, keys, typing=not arguments.no_stdin)
        try:
            return attached.stay(unit, proxy=arguments.sig_proxy == "true")
        finally:
            attached.close()


class Attached:
    """A connection to a container: its output comes by itself, we type and pass signals on.

    Args:
        channel: to the supervisor.
        keys: what to type to leave a container with a terminal.
        typing: whether to read standard input.
    """

    def __init__(self, channel: Channel, keys: bytes, *, typing: bool) -> None:
        self._channel = channel
        self._typing = typing
        self._selector = selectors.DefaultSelector()
        self._keyboard = Keyboard(keys, self._detach)
        self._detached = False
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)

    def close(self) -> None:
        """Give our terminal its modes back."""
        self._keyboard.close()
        self._selector.close()
        self._ours.close()

    def stay(self, unit: str, *, proxy: bool) -> int:
        """Stay until the container ends, or we are to leave; return the exit code."""
        number = self._channel.ask("attach", (1, 2, self._theirs.fileno()), unit=unit)
        self._theirs.close()
        self._selector.register(self._channel.fileno(), selectors.EVENT_READ, None)
        self._selector.register(self._ours, selectors.EVENT_READ, self._input)
        signal.signal(signal.SIGTERM, _interrupt)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup(1)
            signal.signal(signal.SIGHUP, _interrupt)
        sent = 0
        while not self._detached:
            try:
                code = self._turn(number)
                if code is not None:
                    return code
            except KeyboardInterrupt as error:
                caught = error.args[0] if error.args else signal.SIGINT
                # Without its terminal the command is over, and the container is not.
                if not proxy or caught == signal.SIGHUP:
                    return 128 + int(caught)
                sent += 1
                self._channel.ask("kill", units=[unit], signal=int(caught))
            except ControlLostError:
                return 137 if not sent else 130
        return 0

    def _turn(self, number: int) -> int | None:
        for key, _ in self._selector.select():
            if key.data is not None:
                key.data()
                continue
            message = self._channel.receive()
            if message is not None and message["id"] == number:
                return _ended(message)
            if message is not None and "error" in message:
                say(f"gocker: {message['error']['message']}")
        return None

    def _input(self) -> None:
        """Learn where to write what is typed."""
        self._selector.unregister(self._ours)
        kind, fd = receive_fd(self._ours)
        if fd is None or not self._typing:
            return
        self._keyboard.open(self._selector, fd, None, terminal=kind == b"t")
        os.close(fd)  # the keyboard has its own

    def _detach(self) -> None:
        self._detached = True


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
