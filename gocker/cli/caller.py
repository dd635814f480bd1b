"""The program behind a command of the Python API: it is told errors, and its end ends the project.

It hands over one end of a SOCK_SEQPACKET pair. An error is one message, `GockerError.to_wire` as
JSON. End of file means that the program is gone, by SIGKILL too: a project in the background is
stopped then and removed with its volumes, because nobody else knows of it.
"""

from __future__ import annotations

import json
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from selectors import BaseSelector

    from gocker.errors import GockerError

VARIABLE = "GOCKER_CALLER_FD"
_READABLE = 1  # selectors.EVENT_READ
_MOST = 100_000

# The socket, and whether the program at its other end is gone.
fd: int | None = None
gone = False


def take() -> None:
    """Take over the descriptor that the environment names; nobody else is to get it."""
    global fd  # noqa: PLW0603  # one a process
    fd = int(os.environ.pop(VARIABLE))
    os.set_inheritable(fd, False)


def tell(error: GockerError) -> None:
    """Tell the program of an error."""
    if fd is not None:
        data = json.dumps(error.to_wire()).encode()
        if len(data) > _MOST:
            data = json.dumps({"type": type(error).__name__, "message": error.message[:1000],
                               "problems": []}).encode()  # fmt: skip
        try:
            os.write(fd, data)
        except OSError:
            pass  # it is gone


def watch(selector: BaseSelector) -> None:
    """Stop the project, as SIGTERM does, when the program is gone."""
    if fd is not None:
        selector.register(fd, _READABLE, lambda: _lost(selector))


def _lost(selector: BaseSelector) -> None:
    global gone  # noqa: PLW0603  # one a process
    assert fd is not None  # noqa: S101  # it was registered
    selector.unregister(fd)
    gone = True
    os.kill(os.getpid(), signal.SIGTERM)


def clean(project: str) -> None:
    """Remove what a project left whose program is gone."""
    from gocker.cli import down
    from gocker.cli.main import new_launcher

    launcher = new_launcher()
    try:
        down.execute(down.parser().parse_args(["-p", project, "--volumes", "-q"]), launcher)
    finally:
        launcher.close()
