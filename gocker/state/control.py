"""The control socket of a living project: where it is, how to listen on it, how to ask it.

``<live>/projects/<project>/control``, SOCK_SEQPACKET: one JSON object per message, at most
16 KiB, descriptors beside it by SCM_RIGHTS. The directory is private (0700) and the socket is
0600; never an abstract address, which every container in the host's network could reach
(CVE-2020-15257). Who listens is alive: a socket file that nobody listens on is a leftover.
"""

from __future__ import annotations

import _socket as socket
import json
import os
import select
import time
from array import array

from gocker.errors import GockerError, HostError, from_wire
from gocker.state.directory import open_private
from gocker.state.names import checked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.state.roots import Roots

    Message = dict[str, Any]

MAX_REQUEST = 16 * 1024
MAX_DEPTH = 8
MAX_FDS = 3
CONTROL = "control"
# Where a launcher listens that holds containers for the next supervisor.
KEPT = "kept"
_BACKLOG = 128
_ANCILLARY = socket.CMSG_SPACE(MAX_FDS * array("i").itemsize)
_GONE = (ConnectionRefusedError, ConnectionResetError, FileNotFoundError, BrokenPipeError)


class ControlLostError(HostError):
    """The project's supervisor has ended, or ended while it was asked."""


def open_directory(roots: Roots, project: str) -> int:
    """Return a descriptor of the project's private directory below *live*, made if missing."""
    projects = roots.open_live("projects")
    try:
        return open_private(checked(project, "project"), dir_fd=projects)
    finally:
        os.close(projects)


def listen(directory: int, name: str = CONTROL) -> socket.socket:
    """Return a socket that listens in a project's directory; the project is ours alone.

    Raises:
        HostError: if it cannot be made.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        unlink(directory, name)
        # Through the descriptor: sun_path has room for 107 bytes only, and nobody can swap a
        # directory on the way. bind(2) makes the file with the modes that the umask leaves.
        before = os.umask(0o177)
        try:
            sock.bind(f"/proc/self/fd/{directory}/{name}")
        finally:
            os.umask(before)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise HostError(f"cannot listen for other commands: {error.strerror}") from error
    return sock


def unlink(directory: int, name: str = CONTROL) -> None:
    """Remove a project's socket file; a missing one is fine."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass


def connect(roots: Roots, project: str) -> Channel | None:
    """Return a connection to the living project's supervisor, or None if nobody listens."""
    sock = connected(roots, project, CONTROL)
    return None if sock is None else Channel(sock)


def connected(roots: Roots, project: str, name: str) -> socket.socket | None:
    """Return a connection to who listens on a socket of the project; None if nobody does."""
    directory = open_directory(roots, project)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect(f"/proc/self/fd/{directory}/{name}")
    except _GONE:
        sock.close()
        return None
    except OSError as error:
        sock.close()
        raise HostError(f"cannot ask project {project!r}: {error.strerror}") from error
    finally:
        os.close(directory)
    return sock


class Channel:
    """A command's connection to a supervisor; a ``with`` block closes it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._number = 0

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection: the supervisor forgets what was asked for."""
        self._sock.close()

    def fileno(self) -> int:
        """Return the descriptor, for poll(2)."""
        return self._sock.fileno()

    def call(
        self, op: str, fds: tuple[int, ...] = (), *, patience_s: float | None = None, **fields: Any
    ) -> Message | None:
        """Ask for something and wait for the answer; None if there is none in time.

        Raises:
            ControlLostError: the supervisor ended before it answered.
            GockerError: what it says.
        """
        number = self.ask(op, fds, **fields)
        deadline = None if patience_s is None else time.monotonic() + patience_s
        while (message := self.receive(deadline)) is not None:
            if message.get("id") == number:
                if "error" in message:
                    raise from_wire(message["error"])
                return message
        return None

    def ask_for(self, op: str, **fields: Any) -> Message:
        """Ask for something and wait for the answer as long as it takes.

        Raises:
            ControlLostError: the supervisor ended before it answered.
            GockerError: what it says.
        """
        answer = self.call(op, **fields)
        assert answer is not None  # noqa: S101  # without a time limit there is one
        return answer

    def ask(self, op: str, fds: tuple[int, ...] = (), **fields: Any) -> int:
        """Send a request; return its number, which the answer has as its ``id``."""
        self._number += 1
        data = encode({"op": op, "id": self._number, **fields})
        try:
            send(self._sock, data, fds)
        except _GONE as error:
            raise _lost() from error
        return self._number

    def receive(self, deadline: float | None = None) -> Message | None:
        """Return the next message, None at the deadline (CLOCK_MONOTONIC).

        Raises:
            ControlLostError: the supervisor has ended.
        """
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        if not poll.poll(left):
            return None
        try:
            received = receive(self._sock)
        except _GONE as error:
            raise _lost() from error
        if received is None:
            raise _lost()
        message, fds = received
        for fd in fds:
            os.close(fd)
        return message


def _lost() -> ControlLostError:
    return ControlLostError("the project's supervisor has ended", hint="gocker ps -a tells of what")


# Framing, for both sides ------------------------------------------------------------------------


def encode(message: Message) -> bytes:
    """Return a message as it is sent.

    Raises:
        HostError: if it is too long.
    """
    data = json.dumps(message, separators=(",", ":"), ensure_ascii=True).encode()
    if len(data) > MAX_REQUEST:
        raise HostError(
            f"a request of {len(data)} bytes is too long, the most is {MAX_REQUEST}",
            hint="name fewer services",
        )
    return data


def send(sock: socket.socket, data: bytes, fds: tuple[int, ...] = ()) -> None:
    """Send one encoded message and copies of `fds`."""
    if fds:
        sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))])
    else:
        sock.send(data)


def receive(sock: socket.socket) -> tuple[Message, list[int]] | None:
    """Return the next message and its descriptors (close-on-exec), None at end of file.

    Raises:
        BlockingIOError: nothing is there, and the socket does not block.
        GockerError: what came is no message: too long, no JSON object, nested too deep.
    """
    data, ancillary, flags, _ = sock.recvmsg(MAX_REQUEST, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
    fds = array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    if not data and not fds and not flags & socket.MSG_TRUNC:
        return None
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise GockerError("a message is too long")
        return _decode(data), list(fds)
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise


def _decode(data: bytes) -> Message:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise GockerError("a message is no JSON") from error
    if not isinstance(message, dict) or not _is_flat(message, MAX_DEPTH):
        raise GockerError("a message is no JSON object, or nested too deep")
    return message


def _is_flat(value: object, depth: int) -> bool:
    if isinstance(value, dict):
        return depth > 0 and all(_is_flat(item, depth - 1) for item in value.values())
    if isinstance(value, list):
        return depth > 0 and all(_is_flat(item, depth - 1) for item in value)
    return True
