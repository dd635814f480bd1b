"""Ends that a launcher saw while no supervisor lived: ``held.jsonl`` in the run's directory.

It is written by the launcher that holds containers for the next supervisor
(x-gocker.on_supervisor_death: keep), one synced line per end.
"""

from __future__ import annotations

import os

from gocker import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from gocker.state.containers import ContainerState

NAME = "held.jsonl"
_MOST = 64 << 20


def open_journal(run_fd: int) -> int:
    """Return a descriptor to append to a run's journal, made if missing; the caller owns it."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(NAME, flags, 0o600, dir_fd=run_fd)


def read(run_fd: int) -> dict[str, dict[str, Any]]:
    """Return the ends by container; nothing if there is no journal. Damaged lines are left out."""
    try:
        fd = os.open(NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=run_fd)
    except OSError:
        return {}
    found = {}
    with open(fd, "rb") as file:
        for line in file.read(_MOST).splitlines():
            try:
                record = jsontext.loads(line)
            except (ValueError, RecursionError):
                continue
            if _is_whole(record):
                found[record["id"]] = record
    return found


def _is_whole(record: Any) -> bool:
    match record:
        case {"id": str(), "held": bool(), "duration_s": float(), "stats": dict()}:
            return isinstance(record.get("code"), int) != isinstance(record.get("signal"), int)
    return False


def apply(
    containers: Iterable[ContainerState], ends: dict[str, dict[str, Any]]
) -> list[ContainerState]:
    """Let containers that were running be over, as the journal says; return those that changed."""
    changed = []
    for container in containers:
        end = ends.get(container.id)
        if end is None or container.status not in ("running", "paused", "lost"):
            continue
        container.status = "exited" if end["held"] else "lost"
        container.exit_code = end["code"] if end["held"] else 137
        if end["held"]:
            from gocker.scheduler.messages import signal_name  # with all of the scheduler's words

            container.exit_signal = None if end["signal"] is None else signal_name(end["signal"])
            container.duration_s = end["duration_s"]
            container.verdict = verdict(end)
        changed.append(container)
    return changed


def verdict(end: dict[str, Any]) -> str:
    """Return what an end is to somebody who does not know what the spec allows."""
    if end["signal"] is not None:
        return "oom" if end["stats"].get("memory.oom_kills") else "signal"
    return "exit" if end["code"] else "ok"
