"""The server's side of the control socket: who may speak, framing, and queues that never wait.

What a request means is `gocker.scheduler.operations`' business, imported with the first one.
"""

from __future__ import annotations

import _socket as socket
import os
import selectors
import struct
from collections import deque

from gocker.errors import GockerError, InternalError
from gocker.state import control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gocker.scheduler.loop import Loop
    from gocker.scheduler.operations import Operations
    from gocker.state.control import Message

MAX_CLIENTS = 256
# Answers that wait for a client to read them; one that lets more pile up is let go.
_MAX_QUEUED = 64


class Client:
    """A command that is connected. `uid` and `pid` are the kernel's word (SO_PEERCRED)."""

    __slots__ = ("_control", "_queue", "_sock", "_writing", "gone", "on_gone", "pid", "uid")

    def __init__(self, sock: socket.socket, server: Control) -> None:
        self.pid, self.uid, _ = struct.unpack(
            "3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        )
        self._sock = sock
        self._control = server
        self._queue: deque[bytes] = deque()
        self._writing = False
        self.gone = False
        self.on_gone: list[Callable[[], None]] = []
        server.selector.register(sock, selectors.EVENT_READ, self._turn)

    def answer(self, number: int, **fields: object) -> None:
        """Answer a request."""
        self.send({"id": number, **fields})

    def send(self, message: Message) -> None:
        """Queue a message and send what the socket takes now."""
        if self.gone:
            return
        self._queue.append(control.encode(message))
        self._flush()
        if len(self._queue) > _MAX_QUEUED:
            self.close()

    def nudge(self) -> None:
        """Tell that something is new; nothing if the client has not read what was sent before."""
        if not self.gone and not self._queue:
            try:
                self._sock.send(b'{"event":"more"}')
            except BlockingIOError:
                pass  # so it will read, and wake up
            except OSError:
                self.close()

    def _turn(self) -> None:
        self._flush()
        if self.gone:
            return
        try:
            received = control.receive(self._sock)
        except BlockingIOError:
            return
        except (GockerError, OSError):
            self.close()  # it does not speak our language, or no more
            return
        if received is None:
            self.close()
            return
        message, fds = received
        try:
            self._control.handle(self, message, fds)
        finally:
            for fd in fds:
                os.close(fd)

    def _flush(self) -> None:
        while self._queue and not self.gone:
            try:
                self._sock.send(self._queue[0])
            except BlockingIOError:
                break
            except OSError:
                self.close()
                return
            self._queue.popleft()
        if not self.gone and bool(self._queue) != self._writing:
            self._writing = not self._writing
            mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._writing else 0)
            self._control.selector.modify(self._sock, mask, self._turn)

    def close(self) -> None:
        """Let the client go, and forget what it waits for."""
        if self.gone:
            return
        self.gone = True
        self._control.selector.unregister(self._sock)
        self._sock.close()
        self._control.clients.discard(self)
        for forget in self.on_gone:
            forget()


class Control:
    """Listens for commands while a project lives. Owns the listening socket."""

    def __init__(self, listener: socket.socket, directory: int) -> None:
        self._listener = listener
        self._directory = directory
        self._operations: Operations | None = None
        # Whether there is a freezer: where no cgroup is ours to use there is none.
        self.can_pause = True
        self._loop: Loop
        self.selector: selectors.BaseSelector
        self.clients: set[Client] = set()

    def serve(self, loop: Loop, selector: selectors.BaseSelector) -> None:
        """Take requests from now on; those that came before wait in the socket's queue."""
        self._loop = loop
        self.selector = selector
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]  # as socket.accept  # what socket.accept() calls
        except OSError:
            return  # it has left already, or no descriptor is free now
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        client = None
        if len(self.clients) < MAX_CLIENTS:
            client = Client(sock, self)
        if client is None:
            sock.close()
        elif client.uid not in (0, os.geteuid()):
            client.close()
        else:
            self.clients.add(client)

    @property
    def operations(self) -> Operations:
        """Return what carries out requests."""
        if self._operations is None:
            from gocker.scheduler.operations import Operations

            self._operations = Operations(self._loop, can_pause=self.can_pause)
        return self._operations

    def handle(self, client: Client, message: Message, fds: list[int]) -> None:
        """Carry out a request; whatever goes wrong is its answer."""
        number = message.get("id")
        if type(number) is not int:
            client.close()
            return
        try:
            self.operations.handle(client, message, fds)
        except GockerError as error:
            client.answer(number, error=error.to_wire())
        except Exception as error:  # a bug must reach the command, not end every container
            bug = InternalError(f"supervisor: {type(error).__name__}: {error}")
            client.answer(number, error=bug.to_wire())

    def turn(self) -> None:
        """Something may have happened: wake those who watch."""
        if self._operations is not None:
            self._operations.turn()

    def close(self) -> None:
        """Stop listening; whoever waits for an answer reads end of file."""
        for client in list(self.clients):
            client.close()
        self._listener.close()
        control.unlink(self._directory)
        os.close(self._directory)


def open_control(roots: object, project: str) -> Control:
    """Listen for commands about a project that is ours alone (`state.run.project_lock`).

    Raises:
        HostError: if that is not possible.
    """
    directory = control.open_directory(roots, project)  # type: ignore[arg-type]
    try:
        return Control(control.listen(directory), directory)
    except BaseException:
        os.close(directory)
        raise
