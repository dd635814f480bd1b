"""The front's end of the launcher: start it, talk to it without ever blocking."""

from __future__ import annotations

import os
from _collections import deque  # type: ignore[import-not-found]  # the rest is not needed

from gocker.errors import GockerError, HostError, from_wire
from gocker.wire import Connection, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Iterable

    from gocker.scheduler.network import ProjectNetwork
    from gocker.wire import Message


class Launcher:
    """A running launcher, as `gocker.scheduler.spawn` made it; it imports while we go on.

    Owns its connection; `close` ends it and waits for its clean-up.
    """

    def __init__(self, pid: int, sock: socket) -> None:
        self.pid = pid
        self.connection = Connection(sock)
        self._socket = sock
        # Keys of the parts of configurations that the launcher has: `gocker.wire`, "define".
        self.defined: set[int] = set()
        # The project's network, whose process this launcher has started.
        self.network: ProjectNetwork | None = None
        # Whether it only enters containers that others have started.
        self.enters = False
        # Whether it goes on without us.
        self.left = False
        self._outgoing: deque[tuple[bytes, tuple[int, ...], tuple[int, ...]]] = deque()

    def fileno(self) -> int:
        """Return the socket's descriptor, for a selector."""
        return self.connection.fileno()

    def call(self, message: Message, fds: tuple[int, ...] = ()) -> Message:
        """Send a request and wait for its answer; only before the loop runs.

        Raises:
            GockerError: what the launcher said, or that it is gone.
        """
        self.ask(message, fds)
        return self.answer()

    def ask(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        """Send a request without waiting for its answer; only before the loop runs.

        Raises:
            HostError: if the launcher is gone, or the message too long.
        """
        try:
            self.connection.send(message, fds)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self.lost() from error

    def answer(self) -> Message:
        """Wait for the answer to what was asked.

        Raises:
            GockerError: what the launcher said, or that it is gone.
        """
        try:
            answer = self.connection.receive()
        except ConnectionResetError as error:
            raise self.lost() from error
        if answer is None:
            raise self.lost()
        if "error" in answer[0]:
            raise from_wire(answer[0]["error"])
        return answer[0]

    def answer_of(self, event: str) -> Message:
        """Wait for an event of this name, whatever is in it.

        Raises:
            GockerError: what the launcher said of something else, or that it is gone.
        """
        try:
            found = self.connection.receive()
        except ConnectionResetError as error:
            raise self.lost() from error
        if found is None:
            raise self.lost()
        if found[0]["event"] != event and "error" in found[0]:
            raise from_wire(found[0]["error"])
        return found[0]

    def lost(self) -> HostError:
        """Return the error for its end."""
        return entry_lost() if self.enters else lost()

    def define(self, name: str, value: object) -> None:
        """Give the launcher a part of configurations ahead of its use; its id is its key."""
        self.defined.add(id(value))
        self.ask({"op": "define", "key": id(value), "name": name, "value": value})

    def set_nonblocking(self) -> None:
        """Never wait in `send` or `receive` from now on.

        Two processes that both wait for room in the other's buffer would wait for ever.
        """
        self._socket.setblocking(False)

    def send(
        self, message: Message, fds: tuple[int, ...] = (), *, close: tuple[int, ...] = ()
    ) -> None:
        """Queue a request and send what the socket takes now; own and close `close` after it.

        Raises:
            HostError: if the request is too long; `close` is closed then, too.
        """
        try:
            self._outgoing.append((encode(message), fds, close))
        except GockerError:
            for fd in close:
                os.close(fd)
            raise
        self.flush()

    def flush(self) -> bool:
        """Send queued requests; return whether all are sent."""
        while self._outgoing:
            data, fds, close = self._outgoing[0]
            try:
                self.connection.send_encoded(data, fds)
            except BlockingIOError:
                return False
            except (BrokenPipeError, ConnectionResetError):
                pass  # receive() reports the loss
            self._outgoing.popleft()
            for fd in close:
                os.close(fd)
        return True

    def receive(self) -> Message | None:
        """Return the next event, or None if the launcher is gone.

        Raises:
            BlockingIOError: if there is none now.
        """
        try:
            received = self.connection.receive()
        except ConnectionResetError:
            return None
        return None if received is None else received[0]

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the launcher kill and clean up what is left, and wait until it has."""
        self.hang_up()
        if self.pid:
            os.waitpid(self.pid, 0)
            self.pid = 0

    def leave(self) -> None:
        """Leave it to what it holds: it is not waited for any more."""
        self.left = True
        self.pid = 0

    def abandon(self) -> None:
        """Leave it to a process that has inherited the connection: neither ended nor waited for."""
        self.connection.close()
        self.pid = 0

    def hang_up(self) -> None:
        """Close the connection: the launcher kills, cleans up and ends."""
        network, self.network = self.network, None
        try:
            if network is not None:
                network.close()
        finally:
            self.connection.close()
            for _, _, close in self._outgoing:
                for fd in close:
                    os.close(fd)
            self._outgoing.clear()


def close_all(launchers: Iterable[Launcher]) -> None:
    """End launchers, which then clean up side by side."""
    ending = list(launchers)
    for launcher in ending:
        launcher.hang_up()
    for launcher in ending:
        launcher.close()


def lost() -> HostError:
    """Return the error for a launcher that is gone."""
    return HostError(
        "the launcher process is gone, and every container with it",
        hint="see the kernel's log (dmesg) for an OOM kill; `gocker down` cleans up",
    )


def entry_lost() -> HostError:
    """Return the error for a launcher that entered a container and is gone."""
    return HostError(
        "the process that enters the container for this command is gone; the container is not",
        hint="see the kernel's log (dmesg) for an OOM kill, and try again",
    )
