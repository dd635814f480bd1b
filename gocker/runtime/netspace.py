"""The two network namespaces of a project's process: the host's and the project's own."""

from __future__ import annotations

import os

from gocker.linux import process

NAMESPACE = "/proc/thread-self/ns/net"


def current() -> int:
    """Return a descriptor of the namespace that this process is in."""
    return os.open(NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)


def new() -> int:
    """Enter a new namespace; return its descriptor."""
    process.unshare(process.CLONE_NEWNET)
    return current()


def enter(fd: int) -> None:
    """Enter a namespace."""
    process.setns(fd, process.CLONE_NEWNET)


class On:
    """Be in the namespace `fd` for a block, and come back to `home`."""

    __slots__ = ("_fd", "_home")

    def __init__(self, fd: int, home: int) -> None:
        self._fd = fd
        self._home = home

    def __enter__(self) -> None:
        enter(self._fd)

    def __exit__(self, *_: object) -> None:
        enter(self._home)
