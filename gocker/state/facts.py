"""What a damaged run's own log tells of it. Loaded only when a run.json is damaged."""

from __future__ import annotations

from gocker.errors import HostError
from gocker.state import runlog
from gocker.state.names import created_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Records of a log that have to agree before its run is a project's.
_AGREEING = 2
_LOOKED_AT = 50


def from_log(run_id: str, fd: int) -> dict[str, Any] | None:
    """Return the project, files and version that the log in a run's directory tells, all alike."""
    found: list[str] = []
    facts: dict[str, Any] = {"created": created_of(run_id)}
    try:
        for number, record in enumerate(runlog.read("run.jsonl", dir_fd=fd)):
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
