"""Whether gocker runs in a user namespace, and what differs there. For both halves.

Source: user_namespaces(7); overlayfs.rst, "User xattr"; xattr(7).
"""

from __future__ import annotations

import os

# What the initial user namespace maps: every id to itself.
_EVERYTHING = ["0", "0", "4294967295"]

# Where programs that an ordinary user needs are looked for, whatever PATH is.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_known: bool | None = None


def in_user_namespace() -> bool:
    """Return whether this process was started in a user namespace that is not the host's first.

    Root in it has no power over what belongs to the host: it makes no device nodes, sets no
    ``trusted.`` attributes, loads no device programs.
    """
    global _known  # noqa: PLW0603  # a process that enters a container's later stays what it was
    if _known is None:
        try:
            with open("/proc/self/uid_map") as file:
                _known = file.read().split() != _EVERYTHING
        except FileNotFoundError:
            _known = False  # a kernel without them
    return _known


def opaque_xattr() -> str:
    """Return the attribute that makes a directory of an overlay hide what is below it."""
    return "user.overlay.opaque" if in_user_namespace() else "trusted.overlay.opaque"


def overlay_options() -> tuple[str, ...]:
    """Return the options an overlay needs beside its directories and ``volatile``."""
    return ("userxattr",) if in_user_namespace() else ()


def has_one_id() -> bool:
    """Return whether the namespace has the user's own ids alone, without subordinate ones.

    setgroups(2) is denied in such a one: user_namespaces(7), "The /proc/PID/setgroups file".
    """
    if not in_user_namespace():
        return False
    try:
        with open("/proc/self/setgroups") as file:
            return file.read().strip() == "deny"
    except FileNotFoundError:
        return False


def program(name: str) -> str:
    """Return the path of a program of the host's, newuidmap or slirp4netns; "" if it has none."""
    for directory in _PATH.split(":"):
        path = f"{directory}/{name}"
        if os.access(path, os.X_OK):
            return path
    return ""
