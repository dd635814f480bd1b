"""Opens namespaces of running containers for another one that is to be in them."""

from __future__ import annotations

import os

from gocker.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

_FILES = {"pid": "pid", "ipc": "ipc", "user": "user", "mount": "mnt"}
_START_TIME = 21 - 2  # field 22 of proc_pid_stat(5), behind the name in brackets


def start(
    joins: Iterable[tuple[str, str]], processes: Mapping[str, tuple[int, int]],
    then: Callable[..., None], fds: tuple[int, ...], **how: Any,
) -> None:  # fmt: skip
    """Start a container by `then`, with the namespaces of others if those run.

    `fds`: what it takes over; closed here if it comes to nothing, as is the network's.
    """
    try:
        join = open_all(joins, processes)
    except BaseException:
        for fd in (*fds, how.get("netns", -1)):
            if fd >= 0:
                os.close(fd)
        raise
    then(join=join, **how)


def open_all(
    joins: Iterable[tuple[str, str]], processes: Mapping[str, tuple[int, int]]
) -> dict[str, int]:
    """Return descriptors of namespaces by type.

    Args:
        joins: (type, unit).
        processes: PID and start time of each unit's first process.

    Raises:
        ContainerError: a unit does not run.
    """
    found: dict[str, int] = {}
    try:
        for kind, unit in joins:
            found[kind] = _open(kind, unit, processes.get(unit))
    except BaseException:
        for fd in found.values():
            os.close(fd)
        raise
    return found


def _open(kind: str, unit: str, process: tuple[int, int] | None) -> int:
    fd = -1
    if process is not None:
        pid, start_time = process
        try:
            fd = os.open(f"/proc/{pid}/ns/{_FILES[kind]}", os.O_RDONLY | os.O_CLOEXEC)
            # Read after it: then it was that process's, and not that of one with its number.
            with open(f"/proc/{pid}/stat", "rb") as stat:
                fields = stat.read().rpartition(b")")[2].split()
            if int(fields[_START_TIME]) == start_time:
                return fd
        except OSError:
            pass
    if fd >= 0:
        os.close(fd)
    raise ContainerError(
        f"{unit!r}, whose {kind} namespace it shares, does not run",
        hint="a service that others share with has to run as long as they do",
        phase="namespaces",
    )
