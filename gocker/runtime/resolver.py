"""A project's resolver: answers for its containers' names, forwards the rest to the host's.

One process for a project, with its sockets on the gateways of the project's bridges (nobody
needs port 53 of the host) and its own network namespace the host's, from where it asks on. It
has no capability, another user, and a list of system calls (`gocker.runtime.confine`).
Who asks on internal networks only gets no further: not even its question does
(CVE-2024-29018). What the front says on the ``names`` socket is done before any question is
answered, so whoever starts later sees it.
"""

from __future__ import annotations

import _socket as socket
import json
import os
import select
import struct
import time
from errno import EAGAIN, EINPROGRESS

from gocker.runtime import dns
from gocker.runtime.names import Names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

RESOLV_CONF = "/etc/resolv.conf"
_PATIENCE_S = 3.0
_MAX_FORWARDS, _MAX_CONNECTIONS = 256, 128
_DATAGRAM = 65535


class _Connection:
    """A container's TCP connection, with questions behind lengths of two bytes (RFC 7766)."""

    __slots__ = ("data", "deadline", "sock")

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self.sock = sock
        self.data = b""
        self.deadline = deadline


class _Forward:
    """A question on its way to the host's resolvers."""

    __slots__ = ("asked", "deadline", "query", "reply", "servers", "sock", "stream", "text")

    def __init__(
        self, query: bytes, asked: dns.Question, reply: Callable[[bytes], None],
        servers: list[str], *, stream: bool,
    ) -> None:  # fmt: skip
        self.query = query
        self.asked = asked
        self.reply = reply
        self.servers = servers
        self.stream = stream
        self.sock: socket.socket | None = None
        self.deadline = 0.0
        self.text = b""


class Resolver:
    """The loop.

    Args:
        names: what tells who runs; the end of one of them ends this process.
        networks: the project's, see `gocker.runtime.network`.
        listening: sockets on gateways, each with its network.
    """

    def __init__(
        self, names: list[socket.socket], networks: list[dict[str, Any]],
        listening: list[tuple[socket.socket, str]],
    ) -> None:  # fmt: skip
        self._told_by = names
        self.names = Names(networks)
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._connections: dict[int, _Connection] = {}
        self._forwards: dict[int, _Forward] = {}
        self._servers: list[str] = []
        self._servers_of = (0, 0)
        for sock in names:
            sock.setblocking(False)
            self._epoll.register(sock.fileno(), select.EPOLLIN)
        for sock, network in listening:
            sock.setblocking(False)
            datagram = sock.type & 0xF == socket.SOCK_DGRAM
            turn = self._datagrams if datagram else self._accept
            self._watch(sock.fileno(), select.EPOLLIN, _call(turn, sock, network))

    def serve(self) -> None:
        """Serve until the front is gone."""
        while True:
            events = self._epoll.poll(self._timeout())
            alive = [self._learn(sock) for sock in self._told_by]
            if not all(alive):
                return
            for fd, _ in events:
                callback = self._callbacks.get(fd)
                if callback is not None:
                    callback()
            self._expire()

    def _watch(self, fd: int, events: int, callback: Callable[[], None]) -> None:
        self._callbacks[fd] = callback
        self._epoll.register(fd, events)

    def _unwatch(self, sock: socket.socket) -> None:
        if self._callbacks.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock.fileno())
        sock.close()

    def _learn(self, sock: socket.socket) -> bool:
        """Take everything that was said on a socket; return whether somebody is still there."""
        while True:
            try:
                data = sock.recv(1 << 20)
            except BlockingIOError:
                return True
            except ConnectionResetError:
                return False
            if not data:
                return False
            self._take(sock, json.loads(data))

    def _take(self, sock: socket.socket, message: dict[str, Any]) -> None:
        operation = message["op"]
        if operation == "know":
            self.names.know(message)
        elif operation == "add":
            self.names.add(message["key"])
        elif operation == "more":
            self.names.more(message["key"], message["endpoint"])
        elif operation == "less":
            self.names.less(message["key"], message["network"])
        elif operation == "retain":
            self.names.retain(set(message["keys"]))
        elif operation == "list":
            sock.send(json.dumps(self.names.table()).encode())
        else:
            self.names.remove(message["key"])

    def _timeout(self) -> float | None:
        deadlines = [forward.deadline for forward in self._forwards.values()]
        deadlines += [connection.deadline for connection in self._connections.values()]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _expire(self) -> None:
        now = time.monotonic()
        for fd, forward in list(self._forwards.items()):
            if forward.deadline <= now:
                del self._forwards[fd]
                self._next_server(forward)
        for fd, connection in list(self._connections.items()):
            if connection.deadline <= now:
                del self._connections[fd]
                self._unwatch(connection.sock)

    # -- questions -------------------------------------------------------------------------------

    def _datagrams(self, sock: socket.socket, network: str) -> None:
        for _ in range(64):
            try:
                query, peer = sock.recvfrom(_DATAGRAM)
            except OSError:
                return
            self._ask(query, network, peer[0], _sender(sock, peer), stream=False)

    def _accept(self, sock: socket.socket, network: str) -> None:
        try:
            fd, peer = sock._accept()  # type: ignore[attr-defined]  # `socket` has it; no import of that
        except OSError:
            return
        stream = socket.socket(fileno=fd)
        if len(self._connections) >= _MAX_CONNECTIONS:
            stream.close()
            return
        stream.setblocking(False)
        connection = _Connection(stream, time.monotonic() + 4 * _PATIENCE_S)
        self._connections[fd] = connection
        self._watch(fd, select.EPOLLIN, lambda: self._stream(connection, network, peer[0]))

    def _stream(self, connection: _Connection, network: str, source: str) -> None:
        try:
            data = connection.sock.recv(_DATAGRAM)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._connections.pop(connection.sock.fileno(), None)
            self._unwatch(connection.sock)
            return
        connection.data += data
        while len(connection.data) >= 2:
            length = 2 + int.from_bytes(connection.data[:2])
            if len(connection.data) < length:
                return
            query, connection.data = connection.data[2:length], connection.data[length:]
            self._ask(query, network, source, _stream_sender(connection), stream=True)

    def _ask(
        self, query: bytes, network: str, source: str, reply: Callable[[bytes], None],
        *, stream: bool,
    ) -> None:  # fmt: skip
        asked = dns.question(query)
        if asked is None:
            return
        size = None if stream else min(asked.size, 4096)
        view = self.names.view(network, source.partition("%")[0])
        records = self.names.records(view, asked)
        if records is not None:
            reply(dns.answer(query, asked, records, size=size))
        elif "." not in asked.name and not view["dns"]:
            # No name of the DNS has one label: it is one of ours that does not run.
            reply(dns.answer(query, asked, [], dns.NXDOMAIN))
        elif not self.names.leads_out(view):
            reply(dns.answer(query, asked, [], dns.NXDOMAIN))
        else:
            servers = list(view["dns"] or self._host_servers())
            self._next_server(_Forward(query, asked, reply, servers, stream=stream))

    # -- on to the host's resolvers --------------------------------------------------------------

    def _host_servers(self) -> list[str]:
        """Return the host's, read again when the file has changed."""
        try:
            info = os.stat(RESOLV_CONF)
            version = (info.st_mtime_ns, info.st_ino)
            if version != self._servers_of:
                with open(RESOLV_CONF) as file:
                    words = [line.split() for line in file]
                self._servers = [it[1] for it in words if len(it) > 1 and it[0] == "nameserver"]
                self._servers_of = version
        except OSError:
            self._servers = []
        return self._servers[:3]

    def _next_server(self, forward: _Forward) -> None:
        """Ask the next of a question's servers; say so when there is none."""
        if forward.sock is not None:
            self._unwatch(forward.sock)
            forward.sock = None
        while forward.servers and len(self._forwards) < _MAX_FORWARDS:
            if self._send(forward, forward.servers.pop(0)):
                return
        forward.reply(dns.answer(forward.query, forward.asked, [], dns.SERVFAIL))

    def _send(self, forward: _Forward, server: str) -> bool:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        kind = socket.SOCK_STREAM if forward.stream else socket.SOCK_DGRAM
        # A socket of its own: its port is as hard to guess as the kernel can make it.
        sock = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            failed = sock.connect_ex((server, 53))
            if failed not in (0, EINPROGRESS, EAGAIN):
                sock.close()
                return False
            if not forward.stream:
                sock.send(forward.query)
        except OSError:
            sock.close()
            return False
        forward.sock, forward.text = sock, b""
        forward.deadline = time.monotonic() + _PATIENCE_S
        self._forwards[sock.fileno()] = forward
        events = select.EPOLLOUT if forward.stream else select.EPOLLIN
        self._watch(sock.fileno(), events, lambda: self._forwarded(forward, sock))
        return True

    def _forwarded(self, forward: _Forward, sock: socket.socket) -> None:
        try:
            if forward.stream and not forward.text:
                forward.text = b"\0"  # said; from here on it is what is read
                sock.send(struct.pack("!H", len(forward.query)) + forward.query)
                self._epoll.modify(sock.fileno(), select.EPOLLIN)
                return
            data = sock.recv(_DATAGRAM)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if forward.stream and data:
            forward.text += data
            data = forward.text[3:]
            if len(forward.text) < 3 or len(data) < int.from_bytes(forward.text[1:3]):
                return
        if data and data[:2] != forward.query[:2]:
            return  # not the answer to what we asked
        self._forwards.pop(sock.fileno(), None)
        if not data:
            self._next_server(forward)
            return
        self._unwatch(sock)
        forward.sock = None
        forward.reply(data)


def _call(turn: Callable[[socket.socket, str], None], sock: socket.socket, network: str) -> Any:
    return lambda: turn(sock, network)


def _sender(sock: socket.socket, peer: Any) -> Callable[[bytes], None]:
    def send(data: bytes) -> None:
        try:
            sock.sendto(data, peer)
        except OSError:
            pass  # the asker is gone

    return send


def _stream_sender(connection: _Connection) -> Callable[[bytes], None]:
    def send(data: bytes) -> None:
        try:
            connection.sock.send(struct.pack("!H", len(data)) + data)
        except OSError:
            pass  # the asker is gone

    return send
