"""The PATH of images that bring none, which is also where ``bins:`` looks for programs."""

from __future__ import annotations

import os

from gocker.errors import HostError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def which(name: str) -> str:
    """Return the path of a program of the host, looked up in `PATH`.

    Raises:
        HostError: if there is none.
    """
    candidates = [name] if "/" in name else [f"{part}/{name}" for part in PATH.split(":")]
    for path in candidates:
        if path.startswith("/") and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise HostError(
        f"there is no program {name!r} on this host",
        hint=f"install it; looked in {PATH}" if "/" not in name else "name an absolute path",
    )
