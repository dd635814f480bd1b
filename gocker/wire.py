"""Framing, requests, replies and events between front and launcher, and the passing of fds.

One JSON object per SOCK_SEQPACKET message; file descriptors travel beside it by SCM_RIGHTS.
End of file means that the other side is gone. Source: unix(7), recvmsg(2).

Requests (front to launcher), each with ``op``:

``start``    ``id``, ``config`` (OCI), ``rootfs``, fds stdin, stdout, stderr
``signal``   ``id``, ``signal``; ``or_kill``: SIGKILL instead if PID 1 could not receive it
``kill``     ``id``: every process of the container, at once
``exec``     ``id``, ``exec_id``, ``process`` (OCI), ``timeout_s``, fds stdin, stdout, stderr
``freeze``   ``id``, ``frozen``
``sweep``    ``prefix``: remove cgroups and directories of dead containers

Events (launcher to front), each with ``event``, ``t`` (CLOCK_MONOTONIC, seconds) and, for a
container, ``id``: ``ready``, ``started``, ``failed``, ``oom``, ``exited``, ``exec_exited``,
``swept``. Their fields are documented where the launcher sends them (runtime/launcher.py).
"""

from __future__ import annotations

import json
import os
import socket
from array import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Message = dict[str, Any]

# net.core.wmem_max is 212,992 on an unconfigured kernel; a message has to fit the send buffer.
MAX_MESSAGE = 180_000
MAX_FDS = 16
_ANCILLARY = socket.CMSG_SPACE(MAX_FDS * array("i").itemsize)
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode


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
            OSError: EPIPE when the other side is gone, EMSGSIZE above the send buffer.
        """
        data = _encode(message).encode("utf-8", "surrogateescape")
        if not fds:
            self._sock.send(data)
            return
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))
        self._sock.sendmsg([data], [rights])

    def receive(self) -> tuple[Message, list[int]] | None:
        """Return the next message and its descriptors (close-on-exec), or None at end of file.

        Raises:
            BlockingIOError: if the socket is non-blocking and nothing is there.
        """
        flags = socket.MSG_CMSG_CLOEXEC
        data, ancillary, status, _ = self._sock.recvmsg(MAX_MESSAGE + 4096, _ANCILLARY, flags)
        fds = array("i")
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        if status & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            for fd in fds:
                os.close(fd)
            raise OSError("truncated message on the launcher's socket")
        if not data:
            return None
        return json.loads(data.decode("utf-8", "surrogateescape")), list(fds)
