"""Sockets in a run's directory: where commands ask the processes of a run that is under way.

The directory is its owner's alone, and goes with the run: a dead process leaves nothing to clean.
"""

from __future__ import annotations

import _socket as socket

from gocker.errors import HostError, from_wire
from gocker.wire import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.state.run import Run

_PATIENCE_S = 10.0


def listen(run: Run, name: str) -> socket.socket:
    """Return a socket that listens in a run's directory.

    Raises:
        HostError: if there can be none.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with run.opened() as fd:
            # By the descriptor: a path of any length, and no directory that was swapped.
            sock.bind(f"/proc/self/fd/{fd}/{name}")
        sock.listen(8)
    except OSError as error:
        sock.close()
        raise HostError(f"run {run.id}: cannot listen: {error.strerror}") from error
    return sock


def ask(run: Run, name: str, message: dict[str, Any]) -> dict[str, Any]:
    """Send a request to who listens in a run's directory; return the answer.

    Raises:
        HostError: if nobody does, or answers.
        GockerError: what was answered instead.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.settimeout(_PATIENCE_S)
    connection = Connection(sock)
    try:
        with run.opened() as fd:
            sock.connect(f"/proc/self/fd/{fd}/{name}")
        connection.send(message)
        received = connection.receive()
    except OSError as error:
        raise HostError(f"run {run.id} does not answer: {error.strerror or error}") from error
    finally:
        connection.close()
    if received is None:
        raise HostError(f"run {run.id} has ended")
    answer, _ = received
    if "error" in answer:
        raise from_wire(answer["error"])
    return answer
