"""Terminals: made in the container (`gocker.runtime.terminal`), handed out by a socket.

The protocol is runc's: a stream socket that the caller listens on; we connect and send the
pseudo-terminal's master by SCM_RIGHTS, with its name as data.
Source: runc docs/terminals.md; unix(7).
"""

from __future__ import annotations

import _socket as socket
import os
import struct

from gocker.errors import ContainerError


def connect(path: str) -> int:
    """Connect to a console socket; return a descriptor of the connection.

    Raises:
        ContainerError: phase console.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # By descriptor: sun_path takes 107 bytes only (unix(7)).
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            sock.connect(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
    except OSError as error:
        sock.close()
        raise ContainerError(
            f"cannot connect to the console socket {path!r}: {error.strerror}", phase="console"
        ) from error
    return sock.detach()


def receive(connection: int) -> int:
    """Return the master that `send` handed over at the other end.

    Raises:
        ContainerError: phase console; there was none.
    """
    sock = socket.socket(fileno=os.dup(connection))
    try:
        _, ancillary, _, _ = sock.recvmsg(4096, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    finally:
        sock.close()
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            return int(struct.unpack_from("i", data)[0])
    raise ContainerError("no terminal came through the console socket", phase="console")
