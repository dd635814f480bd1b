"""What the launcher tells: of a container in its events, of its own trouble on standard error."""

from __future__ import annotations

import sys

from gocker.errors import unforeseen
from gocker.linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gocker.runtime.container import Container


def started(container: Container) -> dict[str, Any]:
    """Return the fields of event ``started``."""
    cgroup = container.cgroup
    layer = container.layer
    return {
        "id": container.id,
        "pid": container.pid,
        "layer": None if layer is None else layer.name,
        "start_s": round((container.started or 0.0) - container.requested, 6),
        "start_time": process.start_time(container.pid),
        "applied": [[a.limit, a.requested, a.effective, a.file] for a in cgroup.applied],
        "skipped": [[s.limit, s.requested, s.reason] for s in cgroup.skipped],
    }


def stats(container: Container) -> dict[str, Any]:
    """Return a container's statistics; none if the kernel does not give them."""
    try:
        found = container.cgroup.stats()
        if found.get("cpu.user_s") is None and container.usage is not None:
            found["cpu.user_s"] = container.usage.ru_utime
            found["cpu.system_s"] = container.usage.ru_stime
        return found
    except Exception as error:  # how it ended is told all the same
        complain(container.id, error)
        return {}


def complain(what: str, error: Exception) -> None:
    """Tell what could not be done, in one line: there is no log here."""
    print(f"gocker launcher: {what}: {unforeseen(error)}", file=sys.stderr)  # noqa: T201  # no log


def attempt(what: str, step: Callable[[], object]) -> None:
    """Do what has to be tried in any case; tell if it fails."""
    try:
        step()
    except Exception as error:  # best effort: `gocker down` and the next `up` find it again
        complain(what, error)
