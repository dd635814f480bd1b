"""What has become of a run's units, as its log tells: what ``gocker wait`` answers."""

from __future__ import annotations

import signal

from gocker.errors import HostError
from gocker.state import runlog
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from gocker.state.run import Run

# A failure to start, as a shell's exit code: docs/errors.md.
_NOT_STARTED = {"CannotExecute": 126, "CommandNotFound": 127}


@dataclass(slots=True)
class UnitState:
    """One instance. `exit_code` is its last attempt's as a shell shows it; None: it had none.

    `over`: the last word on it was said, and it was not started again.
    """

    instance: str
    service: str
    over: bool = False
    verdict: str | None = None
    failed: bool = False
    exit_code: int | None = None


def of_records(records: Iterable[dict[str, Any]]) -> dict[str, UnitState]:
    """Return the units of a run by name, from its records."""
    found: dict[str, UnitState] = {}
    for record in records:
        name = record.get("instance")
        if not name:
            continue
        unit = found.setdefault(name, UnitState(name, record["service"]))
        match record["event"]:
            case "container.started":
                unit.over = False
                unit.exit_code = unit.verdict = None
            case "container.exited":
                unit.exit_code = _shell_code(record)
                unit.verdict = record["verdict"]
            case "container.failed":
                unit.exit_code = _NOT_STARTED.get(record["error"].get("type"), 125)
                unit.verdict = record["verdict"]
            case "container.lost":
                unit.exit_code = record["exit_code"]
                unit.verdict, unit.failed, unit.over = "lost", True, True
            case "job.finished":
                unit.over = True
                unit.verdict = record["verdict"]
                unit.failed = record["failed"]
    return found


def of_run(run: Run) -> dict[str, UnitState]:
    """Return the units of a run by name; none if it has no log."""
    try:
        with run.opened() as fd:
            return of_records(runlog.read("run.jsonl", dir_fd=fd))
    except HostError:
        return {}


def _shell_code(record: dict[str, Any]) -> int | None:
    code: int | None = record["process.exit.code"]
    name = record["process.exit.signal"]
    if code is not None or name is None:
        return code
    base, _, offset = name.partition("+")
    number = getattr(signal, base, None)
    return None if number is None else 128 + int(number) + int(offset or 0)
