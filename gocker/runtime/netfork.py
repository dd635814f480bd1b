"""The launcher's part of a project's network: it forks the process that has it."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # no enums: they take 3 ms
import os
import select

from gocker.linux import process

# Removing the link takes some 30 ms.
_PATIENCE_S = 5.0


def fork(fds: list[int]) -> int:
    """Start the network's process; return its pidfd.

    It is a copy of this one, made before anything of a container is prepared: half a millisecond
    instead of an interpreter's start, and imports are still possible. What it imports, it
    imports itself.

    Args:
        fds: its sockets, see `gocker.runtime.netserver.main`.
    """
    pid, pidfd = process.clone3(process.CLONE_CLEAR_SIGHAND)
    if pid == 0:
        try:
            from gocker.runtime.netserver import main

            main(fds)
        finally:
            os._exit(1)
    return pidfd


def reap(pidfd: int) -> None:
    """Wait for the process, whose sockets the front has closed, and reap it."""
    if not select.select([pidfd], [], [], _PATIENCE_S)[0]:
        process.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)
