"""Framing, requests, replies and events between front and launcher, and the passing of fds.

One JSON object per SOCK_SEQPACKET message; file descriptors travel beside it by SCM_RIGHTS.
End of file means that the other side is gone. Source: unix(7), recvmsg(2).

Requests (front to launcher), each with ``op``:

``init``     where to work; see runtime/launcher.py
``define``   ``key``, ``name``, ``value``: a part of configurations that many requests share
``start``    ``id``, ``config`` (OCI), ``shared`` (name -> key), ``overlay``, ``files``,
             ``grants``, ``init``, ``landlock``, ``best_effort``, ``directories``, ``keep``: its
             files stay until ``release``; fds stdin, stdout, stderr, or of a
             ``process.terminal`` one socket, to which the terminal's master is sent (the same
             holds for ``exec``)
``release``  ``id``: of a container that was started with ``keep`` and has ended
``signal``   ``id``, ``signal``; ``or_kill``: SIGKILL instead if PID 1 could not receive it
``kill``     ``id``: every process of the container, at once
``join``     ``id``, ``pid``, ``start_time``, ``cgroups_path``, ``seccomp``, ``programs``: a
             container that another process started is one that ``exec`` can name from now on
``usage``    ``id``: what a joined container uses now
``exec``     ``id``, ``exec_id``, ``process`` (OCI), ``timeout_s``, ``orphan``, ``report``;
             fds stdin, stdout, stderr
``copy``     ``copy_id``, ``id`` or None, ``role``, ``path`` ...: see runtime/copies.py; one fd
``exec_signal``  ``exec_id``, ``signal``
``freeze``   ``id``, ``frozen``
``hold``     ``id``, ``fds`` (roles): descriptors of a container, or of the project, that are kept
             for the next front; ``let_go``  ``id``: see runtime/holding.py
``stdio``    fds that are standard input, output and error from now on
``check``    ``resources``, a list: whether this host has what they need
``network``  starts the project's network (runtime/network.py); fds: its socket, its resolver's
``names``    what this machine's system calls are called
``sweep``    ``names``, ``unknown``, ``directories``: remove what dead runs left; with
             ``dry_run`` only tell

Events (launcher to front), each with ``event``, ``t`` (CLOCK_MONOTONIC, seconds) and, for a
container, ``id``: ``ready``, ``started``, ``failed``, ``oom``, ``exited``, ``joined``, ``usage``,
``copied``, ``exec_started``, ``exec_exited``, ``swept``, ``checked``, ``taken``, ``held``. Their
fields are documented where the launcher sends them (runtime/launcher.py).
"""

from __future__ import annotations

# Both sides of a start import this; `socket` would add selectors and 60 enums to it.
import _socket as socket
import os
from _struct import calcsize, pack, unpack

from gocker import jsontext
from gocker.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Message = dict[str, Any]

# net.core.wmem_max is 212,992 on an unconfigured kernel; a message has to fit the send buffer.
MAX_MESSAGE = 180_000
MAX_FDS = 16
# In a message whose descriptors could not be received.
LOST_FDS = "lost_fds"
_FD_SIZE = calcsize("i")
_ANCILLARY = socket.CMSG_SPACE(MAX_FDS * _FD_SIZE)


def encode(message: Message) -> bytes:
    """Return a message as it is sent.

    Raises:
        HostError: if it is longer than one message can be.
    """
    data = jsontext.dumps(message, ascii_only=False).encode("utf-8", "surrogateescape")
    if len(data) > MAX_MESSAGE:
        raise HostError(
            f"a request of {len(data)} bytes is too long, the most is {MAX_MESSAGE}",
            hint="put large values of environment or command into a file and mount it",
        )
    return data


class Connection:
    """One end of a SOCK_SEQPACKET pair. Owns its socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the socket; the other side reads end of file."""
        self._sock.close()

    def send(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        """Send one message and copies of `fds`.

        Raises:
            OSError: EPIPE when the other side is gone.
            HostError: if the message is too long.
        """
        self.send_encoded(encode(message), fds)

    def send_encoded(self, data: bytes, fds: tuple[int, ...] = ()) -> None:
        """Send what `encode` returned; BlockingIOError if the socket is non-blocking and full."""
        if not fds:
            self._sock.send(data)
            return
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, pack(f"{len(fds)}i", *fds))
        self._sock.sendmsg([data], [rights])

    def receive(self) -> tuple[Message, list[int]] | None:
        """Return the next message and its descriptors (close-on-exec), or None at end of file.

        Raises:
            BlockingIOError: if the socket is non-blocking and nothing is there.
        """
        flags = socket.MSG_CMSG_CLOEXEC
        data, ancillary, status, _ = self._sock.recvmsg(MAX_MESSAGE + 4096, _ANCILLARY, flags)
        fds: list[int] = []
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                count = len(payload) // _FD_SIZE
                fds += unpack(f"{count}i", payload[: count * _FD_SIZE])
        if status & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            for fd in fds:
                os.close(fd)
            if status & socket.MSG_TRUNC:
                raise OSError("truncated message on the launcher's socket")
            # No descriptor was free for one of them (unix(7)): the message itself is whole.
            return {**jsontext.loads(data.decode("utf-8", "surrogateescape")), LOST_FDS: True}, []
        if not data:
            return None
        return jsontext.loads(data.decode("utf-8", "surrogateescape")), fds
