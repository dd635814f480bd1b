"""SCMP_ACT_NOTIFY: the filter's listener, taken from the process and given to whoever serves it.

The process that loads the filter writes the number of its descriptor and waits; the descriptor
is fetched from outside (pidfd_getfd(2)), so that the process makes no call that it would have to
be asked about. Source: config-linux.md "The Container Process State"; seccomp_unotify(2).
"""

from __future__ import annotations

import _socket as socket
import os
import struct

from gocker import jsontext
from gocker.errors import ContainerError
from gocker.linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker import oci

WORD = b"listener "


def pair() -> tuple[int, int]:
    """Return our end and the process's end of a socket in place of the status pipe."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return ours.detach(), theirs.detach()


def tell(status_fd: int, listener_fd: int, answer_fd: int = -1) -> None:
    """In the process: say which descriptor it is, and wait until it was taken."""
    os.write(status_fd, WORD + str(listener_fd).encode())
    os.read(status_fd if answer_fd < 0 else answer_fd, 1)


def serve(
    status_fd: int, pidfd: int, pid: int, seccomp: oci.Seccomp, state: dict[str, Any]
) -> bytes:
    """Outside: take the listener and pass it on; return what came instead of it, an error.

    Args:
        status_fd: our end of the socket (SOCK_SEQPACKET) of which the process has the other.
        pidfd: of the process.
        pid: its number here.
        seccomp: the profile, with listenerPath and listenerMetadata.
        state: OCI's state of the container.

    Raises:
        ContainerError: phase seccomp: nobody listens there.
    """
    message = os.read(status_fd, 65536)
    if not message.startswith(WORD):
        return message
    hand_on(message, pidfd, pid, seccomp, state)
    os.write(status_fd, b"0")
    return b""


def hand_on(
    message: bytes, pidfd: int, pid: int, seccomp: oci.Seccomp, state: dict[str, Any]
) -> None:
    """Take the listener that a message speaks of, and pass it on. Arguments: see `serve`.

    Raises:
        ContainerError: phase seccomp: nobody listens there.
    """
    fd = process.pidfd_getfd(pidfd, int(message.removeprefix(WORD)))
    try:
        send(seccomp.get("listenerPath", ""), fd, {
            "ociVersion": state["ociVersion"], "fds": ["seccompFd"], "pid": pid,
            "metadata": seccomp.get("listenerMetadata", ""), "state": state,
        })  # fmt: skip
    finally:
        os.close(fd)


def send(path: str, fd: int, what: dict[str, Any]) -> None:
    """Send a descriptor and its description to a socket.

    Raises:
        ContainerError: phase seccomp: it cannot be reached.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.connect(path)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))
        sock.sendmsg([jsontext.dumps(what).encode()], [rights])
    except OSError as error:
        raise ContainerError(
            f"linux.seccomp.listenerPath {path!r}: {error.strerror}",
            hint="start the agent that is to answer first",
            phase="seccomp",
        ) from error
    finally:
        sock.close()
