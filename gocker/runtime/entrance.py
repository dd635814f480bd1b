"""Enters one running container for the command that forked it: ``gocker exec``.

The front forks before it imports anything; this half imports the little that an execution needs
while the front looks for the container. It is what `gocker.runtime.launcher` is for ``join``,
``exec`` and ``exec_signal``, without a second and a third start of the interpreter, which take
longer than all system calls of an execution. What that leaves out is the read-only interpreter
(`gocker.runtime.interpreter`): so the front does not come here for a container that could look at
the process although it is not dumpable.
"""

from __future__ import annotations

import _socket
import gc
import os

from gocker.linux import process
from gocker.runtime import report
from gocker.runtime.executions import Executions
from gocker.runtime.server import Server, begin
from gocker.wire import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


class Entrance(Server):
    """What executes in a container that another process has started."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._executions = Executions({}, self._watch, self._unwatch, self._emit)
        self._handlers = {
            "join": self._executions.join, "exec": self._executions.exec,
            "exec_signal": self._executions.signal,
        }  # fmt: skip

    def serve(self) -> None:
        """Serve until the front is gone and what it executed with it."""
        self._watch(self._connection.fileno(), self._receive)
        while not self._closing or self._executions.busy():
            if not self._dispatch(self._executions.seconds_to_deadline()):
                self._executions.time_out()

    def _close(self) -> None:
        super()._close()
        self._executions.client_gone()


def main(fd: int) -> NoReturn:
    """Serve the socket `fd` in a process that was just forked; never returns."""
    code = 70
    try:
        begin(fd, "gocker-entrance")
        # Nothing of the caller's: what is executed gets the container's alone.
        process.forget_environment()
        gc.disable()
        Entrance(Connection(_socket.socket(fileno=fd))).serve()
        code = 0
    except Exception as error:  # its children die with it
        report.complain("end", error)
    finally:
        os._exit(code)
