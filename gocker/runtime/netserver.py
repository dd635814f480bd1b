"""The loop of a project's network: the front's requests, and those of other commands."""

from __future__ import annotations

import _socket as socket
import os
import select
import signal
import struct

from gocker.errors import GockerError, HostError, unforeseen
from gocker.linux import process
from gocker.runtime.network import Network
from gocker.wire import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.wire import Message

_ANSWERS = {"up": "net_up", "attach": "attached", "show": "shown"}
# What commands other than the one that runs the project may ask.
_PUBLIC = ("show", "connect", "disconnect")
_MAX_CLIENTS = 16
_UCRED = struct.Struct("3i")


class Server:
    """Serves until the front is gone."""

    def __init__(
        self, front: Connection, names: socket.socket, listener: socket.socket | None
    ) -> None:
        self._front = front
        self._listener = listener
        self._network = Network(names)
        self._clients: dict[int, Connection] = {}
        self._poll = select.poll()
        self._poll.register(front.fileno(), select.POLLIN)
        if listener is not None:
            listener.setblocking(False)
            self._poll.register(listener.fileno(), select.POLLIN)

    def serve(self) -> None:
        """Serve; one request after the other."""
        alive = True
        while alive:
            for fd, _ in self._poll.poll():
                if fd == self._front.fileno():
                    alive = self._turn(self._front)
                elif fd in self._clients:
                    self._client(fd)
                else:
                    self._accept()
        self._network.close()

    def _accept(self) -> None:
        assert self._listener is not None  # noqa: S101  # it was polled
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]  # `socket` has it
        except BlockingIOError:
            return
        sock = socket.socket(fileno=fd)
        sock.settimeout(2.0)  # nobody is waited for longer
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        _, uid, _ = _UCRED.unpack(credentials)
        if uid not in (0, os.geteuid()) or len(self._clients) >= _MAX_CLIENTS:
            sock.close()
            return
        self._clients[fd] = Connection(sock)
        self._poll.register(fd, select.POLLIN)

    def _client(self, fd: int) -> None:
        client = self._clients[fd]
        try:
            alive = self._turn(client)
        except OSError:  # it said nothing sound, or took no answer
            alive = False
        if not alive:
            self._poll.unregister(fd)
            self._clients.pop(fd).close()

    def _turn(self, asker: Connection) -> bool:
        """Answer one request; return whether the asker is still there."""
        try:
            received = asker.receive()
        except ConnectionResetError:
            received = None
        if received is None:
            return False
        message, fds = received
        for fd in fds:
            os.close(fd)
        try:
            if asker is not self._front and message.get("op") not in _PUBLIC:
                raise HostError(f"no such request: {message.get('op')!r}")
            self._answer(asker, message)
        except BrokenPipeError:
            return False
        except Exception as error:  # a bug must reach the asker
            return _refuse(asker, message, unforeseen(error))
        return True

    def _answer(self, asker: Connection, message: Message) -> None:
        operation, network = message["op"], self._network
        fds: tuple[int, ...] = ()
        fields: dict[str, Any] = {}
        if operation == "up":
            fields = network.up(message)
        elif operation == "attach":
            fds = (network.endpoints.attach(message),)
            fields = {"key": message["key"]}
        elif operation == "detach":
            network.endpoints.detach(message)
            return
        elif operation == "retain":
            network.endpoints.retain(set(message["keys"]))
            return
        elif operation == "show":
            fields = network.show()
        else:
            fields = {"addresses": getattr(network, operation)(message)}
        asker.send({"event": _ANSWERS.get(operation, "changed"), **fields}, fds)


def _refuse(asker: Connection, message: Message, error: GockerError) -> bool:
    event = _ANSWERS.get(message.get("op", ""), "changed")
    try:
        asker.send({"event": event, "key": message.get("key"), "error": error.to_wire()})
    except BrokenPipeError:
        return False
    return True


def main(fds: list[int]) -> None:
    """Serve in a process of its own, a copy of the launcher. Never returns.

    Args:
        fds: the front's socket, the resolver's, and one that listens for other commands.
    """
    code = 1
    try:
        kept = sorted(fds)
        for first, last in zip([3, *(fd + 1 for fd in kept)], [*(fd - 1 for fd in kept), 1 << 31],
                               strict=True):  # fmt: skip
            process.close_range(first, last)
        process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
        process.set_name("gocker-net")
        process.set_title("gocker-net")
        front, names, *more = [socket.socket(fileno=fd) for fd in fds]
        Server(Connection(front), names, more[0] if more else None).serve()
        code = 0
    finally:
        os._exit(code)
