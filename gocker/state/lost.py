"""What a killed supervisor could not say: written into its run's log by whoever comes next.

Its containers died with it (docs/architecture.md), and nobody saw how. Each of them gets one
``container.lost`` with exit code 137, and the run its ``run.finished``, so that every reader
finds an end. The run's lock is held meanwhile: it is written once.
"""

from __future__ import annotations

import os
import time

from gocker import events, jsontext
from gocker.errors import EXIT_JOB_FAILED, HostError
from gocker.state import journal, runlog
from gocker.state.containers import LIVING, replay
from gocker.state.locks import InUseError, acquire
from gocker.state.run import runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.state.containers import ContainerState
    from gocker.state.roots import Roots
    from gocker.state.run import Run

SUPERVISOR_LOST = "supervisor-lost"
EXIT_CODE = 137  # as after SIGKILL, which is what they got


def note(roots: Roots, project: str | None = None) -> list[str]:
    """Complete the log of the last run of a project (None: of all) if its supervisor was lost.

    Returns:
        the identifiers of the containers that were lost.
    """
    latest = {run.project: run for run in runs(roots, project) if not run.damaged}
    found: list[str] = []
    for run in latest.values():
        try:
            found += _complete(run)
        except (HostError, OSError):
            continue  # a full disk, a foreign file system: readers see "lost" all the same
    return found


def _complete(run: Run) -> list[str]:
    if run.alive():
        return []
    with run.opened() as fd:
        if not _lacks_end(fd):
            return []
        try:
            lock = acquire("lock", dir_fd=fd, what=f"run {run.id}")
        except InUseError:
            return []  # somebody else is writing it
        with lock:
            records = list(runlog.read("run.jsonl", dir_fd=fd))
            if not records or records[-1]["event"] == "run.finished":
                return []
            return _write(run, fd, records)


def _lacks_end(fd: int) -> bool:
    names = [record["event"] for record in runlog.read("run.jsonl", dir_fd=fd)]
    return bool(names) and names[-1] != "run.finished"


def _write(run: Run, fd: int, records: list[dict[str, Any]]) -> list[str]:
    found = replay(records, alive=True)
    lost = [item for item in found if item.status in LIVING]
    ends = journal.read(fd)
    # Seen by the launcher that outlived its supervisor: these were not lost.
    seen = [item for item in journal.apply(found, ends) if item.status == "exited"]
    lost = [item for item in lost if item not in seen]
    said: list[tuple[str, dict[str, Any]]] = [_exited(item, ends[item.id]) for item in seen]
    said += [
        ("container.lost", {
            "service": item.service, "instance": item.instance, "attempt": item.attempt,
            "container.id": item.id, "reason": SUPERVISOR_LOST, "exit_code": EXIT_CODE,
        }) for item in lost
    ]  # fmt: skip
    said.append(("run.finished", {
        "exit_code": EXIT_JOB_FAILED, "reason": SUPERVISOR_LOST, "totals": {},
        "duration_s": max(0.0, _seconds_of(records)),
    }))  # fmt: skip
    _append(run, fd, records[-1]["seq"], said)
    return [item.id for item in lost]


def _exited(item: ContainerState, end: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    from gocker.scheduler.chronicle import EVIDENCE  # most commands find nobody lost

    return "container.exited", {
        "service": item.service, "instance": item.instance, "attempt": item.attempt,
        "container.id": item.id, "verdict": item.verdict, "next": "done",
        "process.exit.code": end["code"], "process.exit.signal": item.exit_signal,
        "duration_s": end["duration_s"],
        **{key: end["stats"].get(key) for key in EVIDENCE},
    }  # fmt: skip


def _seconds_of(records: list[dict[str, Any]]) -> float:
    """Return how long the run is known to have lasted."""
    seconds: float = records[-1]["monotonic"] - records[0]["monotonic"]
    return round(seconds, 6)


def mend(run: Run) -> None:
    """End a line that a killed supervisor was writing: it is no record, and none continues it."""
    with run.opened() as fd:
        os.close(_open_log(fd))


def _open_log(fd: int) -> int:
    """Return a descriptor to append to a run's log, whose last line is whole or ended."""
    flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    log_fd = os.open("run.jsonl", flags, dir_fd=fd)
    size = os.fstat(log_fd).st_size
    if size > 0 and os.pread(log_fd, 1, size - 1) != b"\n":
        os.write(log_fd, b"\n")
    return log_fd


def _append(run: Run, fd: int, seq: int, said: list[tuple[str, dict[str, Any]]]) -> None:
    """Append records to the log of a run that nobody else writes any more."""
    log_fd = _open_log(fd)
    try:
        lines = []
        for number, (event, fields) in enumerate(said, start=seq + 1):
            events.check(event, fields)
            lines.append(jsontext.dumps({
                "schema": events.SCHEMA_VERSION, "seq": number,
                "time": events.timestamp(time.time()), "monotonic": time.monotonic(),
                "event": event, "run.id": run.id, "project": run.project, **fields,
            }))  # fmt: skip
        os.write(log_fd, ("\n".join(lines) + "\n").encode())
        os.fsync(log_fd)
    finally:
        os.close(log_fd)
