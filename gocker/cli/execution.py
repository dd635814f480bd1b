"""The client's side of a program in a container: its request, its signals, its exit code."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # in no stubs; `signal` makes enums
import os
import select

from gocker.cli.forward import Signals
from gocker.errors import from_wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker import oci
    from gocker.cli.console import Console
    from gocker.cli.pipes import Pipes
    from gocker.plan.model import Container
    from gocker.scheduler.launcher import Launcher
    from gocker.state.living import Living
    from gocker.wire import Message

_ID = "exec"


class Execution:
    """One program, from the request to its exit.

    Args:
        launcher: fresh; ended by whoever owns it.
        living: the container.
        made: how that was made.
        process: OCI's process to execute.
        stdio: what it reads and writes; closed by `run`.
        detach: whether to leave it alone once it was executed.
    """

    def __init__(
        self, launcher: Launcher, living: Living, made: Container, process: oci.Process,
        stdio: Console | Pipes, *, detach: bool = False,
    ) -> None:  # fmt: skip
        self._launcher = launcher
        launcher.enters = True
        self._join = living.join_message(made)
        self._stdio = stdio
        self._detach = detach
        self._left = False
        self._request: Message = {
            "op": "exec", "id": living.id, "exec_id": _ID, "process": process, "orphan": detach,
            **(made.landlock.for_exec() if made.landlock is not None else {}),
        }  # fmt: skip

    def run(self) -> int:
        """Execute the program; return its exit code, 128 + n if signal n ended it.

        0 also when it was left to itself (`detach`, or the keys for that were typed).

        Raises:
            ContainerError: it could not be executed.
            HostError: the launcher is gone.
        """
        console = None if self._request["process"].get("terminal") is not True else self._stdio
        more = (_signal.SIGWINCH, _signal.SIGTSTP, _signal.SIGCONT) if console else ()
        try:
            with Signals(*more) as signals:
                self._launcher.ask(self._join)
                self._launcher.ask(self._request, self._stdio.stdio())
                self._stdio.passed()
                code = self._serve(signals, console)  # type: ignore[arg-type]  # a Console then
                self._stdio.drain()
        finally:
            self._stdio.close()
        if self._left:
            os._exit(0)
        return code

    def _serve(self, signals: Signals, console: Console | None) -> int:
        while True:
            poll = select.poll()
            poll.register(self._launcher.fileno(), select.POLLIN)
            poll.register(signals.fileno(), select.POLLIN)
            for fd, mask in self._stdio.wanted().items():
                poll.register(fd, mask)
            code = None
            for fd, events in poll.poll():
                if fd == signals.fileno():
                    self._signalled(signals.read(), console)
                elif fd == self._launcher.fileno():
                    code = self._receive()
                else:
                    self._stdio.ready(fd, events)
            if console is not None and console.keys.pressed and not self._left:
                if self._leave(console):
                    return 0
            elif code is not None:
                return code

    def _signalled(self, numbers: list[int], console: Console | None) -> None:
        for number in numbers:
            if console is not None and number == _signal.SIGWINCH:
                console.resize()
            elif console is not None and number == _signal.SIGTSTP:
                console.suspend()
            elif console is not None and number == _signal.SIGCONT:
                console.resume()
            else:
                self._launcher.ask({"op": "exec_signal", "exec_id": _ID, "signal": number})

    def _leave(self, console: Console) -> bool:
        """Go on in the background: somebody has to hold the terminal.

        True in the user's process, which ends.
        """
        console.restore()
        if os.fork():
            self._launcher.abandon()
            return True
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for fd in range(3):
            os.dup2(null, fd)
        console.ignore()
        self._left = True
        return False

    def _receive(self) -> int | None:
        message = self._launcher.receive()
        if message is None:
            raise self._launcher.lost()
        if "error" in message:
            raise from_wire(message["error"])
        if message["event"] == "exec_started" and self._detach:
            return 0
        if message["event"] == "exec_exited":
            return exit_code(message)
        return None


def exit_code(message: Message) -> int:
    """Return the shell's exit code for an ``exec_exited``."""
    code: int | None = message["code"]
    return 128 + int(message["signal"] or 0) if code is None else code
