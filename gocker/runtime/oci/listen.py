"""Descriptors and sockets that a service manager hands on: LISTEN_FDS. Source: sd_listen_fds(3)."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.runtime.oci.create import Request


def hand_on(request: Request, config: dict[str, Any]) -> None:
    """Give the container the descriptors that the service manager gave us, and their names.

    In the container the program is PID 1 of its namespace, or what it is; LISTEN_PID says so.
    """
    text = os.environ.get("LISTEN_FDS", "")
    if not (text.isascii() and text.isdecimal()):
        return
    meant = os.environ.get("LISTEN_PID", "")
    if meant and meant != str(os.getpid()):
        return
    count = int(text)
    environment = config["process"].setdefault("env", [])
    environment.append(f"LISTEN_FDS={count}")
    names = os.environ.get("LISTEN_FDNAMES")
    if names:
        environment.append(f"LISTEN_FDNAMES={names}")
    environment.append("LISTEN_PID=1")
    request.preserve_fds = max(request.preserve_fds, count)
