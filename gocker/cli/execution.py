"""The client's side of a program in a container: its request, its signals, its exit code."""

from __future__ import annotations

import os
import select

from gocker.cli.forward import Signals
from gocker.errors import from_wire
from gocker.scheduler.launcher import lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker import oci
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
        detach: whether to leave it alone once it was executed.
    """

    def __init__(
        self, launcher: Launcher, living: Living, made: Container, process: oci.Process, *,
        detach: bool = False,
    ) -> None:  # fmt: skip
        self._launcher = launcher
        self._join = living.join_message(made)
        self._detach = detach
        self._request: Message = {
            "op": "exec", "id": living.id, "exec_id": _ID, "process": process,
            "orphan": detach,
        }  # fmt: skip

    def run(self) -> int:
        """Execute the program; return its exit code, 128 + n if signal n ended it.

        Raises:
            ContainerError: it could not be executed.
            HostError: the launcher is gone.
        """
        with Signals() as signals:
            self._launcher.ask(self._join)
            self._send()
            poll = select.poll()
            poll.register(self._launcher.fileno(), select.POLLIN)
            poll.register(signals.fileno(), select.POLLIN)
            while True:
                for fd, _ in poll.poll():
                    if fd == signals.fileno():
                        self._forward(signals.read())
                    else:
                        code = self._receive()
                        if code is not None:
                            return code

    def _send(self) -> None:
        """Pass our standard descriptors on as they are: nothing is copied."""
        stdio = [_standard(fd) for fd in range(3)]
        if self._detach:
            stdio = [os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)] * 3
        self._launcher.ask(self._request, tuple(stdio))

    def _forward(self, numbers: list[int]) -> None:
        for number in numbers:
            self._launcher.ask({"op": "exec_signal", "exec_id": _ID, "signal": number})

    def _receive(self) -> int | None:
        message = self._launcher.receive()
        if message is None:
            raise lost()
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


def _standard(fd: int) -> int:
    """Return a descriptor to be passed; an empty one for what is closed here."""
    try:
        os.fstat(fd)
    except OSError:
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    return fd
