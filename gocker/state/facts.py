"""What is known of a run: from its run.json, or from its log if that is damaged."""

from __future__ import annotations

import os

from gocker import log
from gocker.errors import HostError
from gocker.state.directory import DIRECTORY, read_small
from gocker.state.names import created_of
from gocker.state.record import NOT_READABLE, unseal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

YEAR_10000 = 253_402_300_800  # no clock says so: a damaged number
# Records of a log that have to agree before its run is a project's.
_AGREEING = 2
_LOOKED_AT = 50


def read(run_id: str, runs_fd: int) -> tuple[dict[str, Any] | None, str | None, bool]:
    """Return (facts, damage, whether a newer gocker wrote it) of a run.

    Facts of a damaged run come from its log, as far as they are there: never its holder.

    Raises:
        HostError: if they cannot be read for lack of descriptors or memory.
    """
    try:
        fd = os.open(run_id, DIRECTORY, dir_fd=runs_fd)
    except (FileNotFoundError, NotADirectoryError):
        return None, f"run.json {NOT_READABLE}", False
    except OSError as err:
        raise HostError(f"cannot open run {run_id!r}: {err.strerror}") from err
    try:
        facts, reason = unseal(read_small(fd, "run.json"))
        if facts is not None and reason is not None:
            return (facts if _is_named(facts) else None), f"run.json {reason}", True
        if facts is not None and _is_whole(facts):
            return facts, None, False
        return _from_log(run_id, fd), f"run.json {reason or NOT_READABLE}", False
    finally:
        os.close(fd)


def _is_whole(facts: dict[str, Any]) -> bool:
    """Return whether every value has its type."""
    match facts:
        case {
            "project": str(),
            "files": [*files],
            "command": [*command],
            "created": float(created),
            "gocker.version": str(),
            "cgroup.parent": str(),
        }:
            return all(isinstance(item, str) for item in [*files, *command]) and (
                0 <= created < YEAR_10000
            )
    return False


def _is_named(facts: dict[str, Any]) -> bool:
    return isinstance(facts.get("project"), str)


def _from_log(run_id: str, fd: int) -> dict[str, Any] | None:
    """Return the project, files and version that the run's own log tells, all alike."""
    found: list[str] = []
    facts: dict[str, Any] = {"created": created_of(run_id)}
    try:
        for number, record in enumerate(log.read("run.jsonl", dir_fd=fd)):
            if number == _LOOKED_AT:
                break
            if record["run.id"] != run_id:
                return None
            found.append(record["project"])
            if record["event"] == "run.started":
                facts |= {"files": record["spec.files"], "gocker.version": record["gocker.version"]}
    except (HostError, OSError):
        return None
    if len(found) < _AGREEING or len(set(found)) > 1:
        return None
    return facts | {"project": found[0]}
