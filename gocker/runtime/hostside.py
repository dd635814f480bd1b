"""A child that stays behind in the host's network namespace, to do one thing there later.

In a user namespace nobody who has left the host's network can go back to it: setns(2) wants
CAP_SYS_ADMIN over it. So whoever is to work there is forked before, and waits to be told.
"""

from __future__ import annotations

import _socket as socket
import os

from gocker.linux import process
from gocker.wire import MAX_FDS, Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gocker.wire import Message


class Stayer:
    """The child. `tell` lets it go on; `dismiss`, if it never was told, ends it."""

    def __init__(self, run: Callable[[Message, list[int]], None]) -> None:
        """Fork; in the child `run` is called with the message and its descriptors, and ends it.

        Raises:
            SyscallError: there is no process.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection = Connection(ours)
        self.pid, self._pidfd = process.clone3(0)
        if self.pid == 0:
            try:
                ours.close()
                _wait(Connection(theirs), run)
            finally:
                os._exit(1)  # a copy of this process must not go on as this process
        theirs.close()

    def tell(self, message: Message, fds: list[int]) -> None:
        """Let the child go on. It has copies of the descriptors, in their order."""
        rest = list(fds)
        while len(rest) > MAX_FDS:
            self._connection.send({"more": True}, tuple(rest[:MAX_FDS]))
            del rest[:MAX_FDS]
        self._connection.send(message, tuple(rest))
        self._connection.close()

    def dismiss(self) -> None:
        """Let go of the child's connection: it ends if it still waits."""
        self._connection.close()

    def wait(self) -> None:
        """Wait until it has ended, and reap it."""
        os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        os.close(self._pidfd)


def _wait(connection: Connection, run: Callable[[Message, list[int]], None]) -> None:
    fds: list[int] = []
    while (received := connection.receive()) is not None:
        message, more = received
        fds += more
        if "more" not in message:
            connection.close()
            run(message, fds)
            return
