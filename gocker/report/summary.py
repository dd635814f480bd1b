"""What became of a run, from the records of its log and nothing else.

Fed while the run goes on or from ``run.jsonl`` later, the same records give the same summary.
"""

from __future__ import annotations

from gocker.report.human import count, duration, size
from gocker.report.lines import error_text
from gocker.values import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from gocker.report.lines import Record


# From here on a peak is worth a word, although the job passed.
NEAR = 0.9
# A job that waited this part of its time for its CPU quota may want to know.
THROTTLED = 0.1


@dataclass(slots=True)
class Row:
    """One instance; the figures are those of its last attempt. `verdict` None: no last word yet.

    Bytes, seconds and tasks; None where the kernel did not tell or nothing is limited.
    `retried`: the attempts before, each with ``verdict`` and ``duration_s`` (None: not started).
    """

    service: str
    instance: str
    verdict: str | None = None
    failed: bool = False
    allowed: bool = False
    attempts: int = 0
    exit_code: int | None = None
    exit_signal: str | None = None
    duration_s: float | None = None
    cpu_s: float | None = None
    throttled_s: float | None = None
    memory_peak: int | None = None
    memory_limit: int | None = None
    oom_kills: int | None = None
    pids_peak: int | None = None
    pids_limit: int | None = None
    pids_denied: int | None = None
    restarts: int = 0
    retried: list[dict[str, Any]] = field(default_factory=list)
    because: str | None = None
    error: str | None = None


@dataclass(slots=True)
class Summary:
    """The rows by instance, in the order in which they first appeared, and the run's end."""

    run_id: str = ""
    project: str = ""
    rows: dict[str, Row] = field(default_factory=dict)
    exit_code: int | None = None
    reason: str | None = None
    duration_s: float | None = None
    error: str | None = None

    @classmethod
    def from_records(cls, records: Iterable[Record]) -> Summary:
        """Return the summary of a run's records."""
        summary = cls()
        for record in records:
            summary.add(record)
        return summary

    def add(self, record: Record) -> None:
        """Take in one record, as `gocker.log.RunLog.record` returned it."""
        event = record["event"]
        if event == "run.started":
            self.run_id, self.project = record["run.id"], record["project"]
        elif event == "run.finished":
            self.exit_code, self.reason = record["exit_code"], record["reason"]
            self.duration_s = record["duration_s"]
            self.error = error_text(record["error"]) if "error" in record else None
        elif event in _TAKE:
            _TAKE[event](self._row(record), record)

    def ordered(self) -> list[Row]:
        """Return the rows with those that matter last, where a terminal leaves the eye."""
        return sorted(self.rows.values(), key=_weight)

    def totals(self) -> dict[str, int]:
        """Return the number of instances by verdict."""
        totals: dict[str, int] = {}
        for row in self.rows.values():
            verdict = row.verdict or "unfinished"
            totals[verdict] = totals.get(verdict, 0) + 1
        return totals

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        from dataclasses import asdict

        return {**asdict(self), "rows": [asdict(row) for row in self.rows.values()]}

    def hints(self) -> list[str]:
        """Return what the figures suggest to do, one sentence each."""
        return [f"{row.instance}: {text}" for row in self.ordered() for text in _hints(row)]

    def _row(self, record: Record) -> Row:
        instance = record["instance"]
        row = self.rows.get(instance)
        if row is None:
            row = self.rows[instance] = Row(record["service"], instance)
        return row


def _started(row: Row, record: Record) -> None:
    row.attempts = max(row.attempts, record["attempt"])


def _exited(row: Row, record: Record) -> None:
    user, system = record["cpu.user_s"], record["cpu.system_s"]
    row.attempts = max(row.attempts, record["attempt"])
    row.exit_code = record["process.exit.code"]
    row.exit_signal = record["process.exit.signal"]
    row.duration_s = record["duration_s"]
    row.cpu_s = None if user is None and system is None else (user or 0.0) + (system or 0.0)
    row.throttled_s = record["cpu.throttled_s"]
    row.memory_peak, row.memory_limit = record["memory.peak"], record["memory.limit"]
    row.oom_kills = record["memory.oom_kills"]
    row.pids_peak, row.pids_limit = record["pids.peak"], record["pids.limit"]
    row.pids_denied = record["pids.denied"]
    row.restarts += record["next"] == "restart"
    _note_retry(row, record, record["duration_s"])
    row.error = None
    if record["next"] == "done":
        row.verdict = record["verdict"]  # job.finished has the last word where there is one


def _failed(row: Row, record: Record) -> None:
    row.attempts = max(row.attempts, record["attempt"])
    _note_retry(row, record, None)
    row.error = error_text(record["error"])


def _note_retry(row: Row, record: Record, duration_s: float | None) -> None:
    if record["next"] == "retry":
        row.retried.append({"verdict": record["verdict"], "duration_s": duration_s})


def _skipped(row: Row, record: Record) -> None:
    row.because = record["because"]


def _finished(row: Row, record: Record) -> None:
    row.verdict, row.attempts = record["verdict"], record["attempts"]
    row.failed, row.allowed = record["failed"], record["allowed"]


_TAKE = {
    "container.started": _started,
    "container.exited": _exited,
    "container.failed": _failed,
    "job.skipped": _skipped,
    "job.finished": _finished,
}


def _weight(row: Row) -> int:
    if row.failed:
        return 4
    return {"ok": 0, "skipped": 2, None: 3}.get(row.verdict, 1)


def _hints(row: Row) -> list[str]:
    found = []
    if row.error is not None:
        found.append(row.error)
    if row.verdict == "skipped":
        found.append(f"skipped because of {row.because}")
    if row.verdict == "oom":
        found.append(
            f"killed at its memory limit of {size(row.memory_limit)}; raise mem_limit, or find "
            "what takes the memory"
        )
    elif row.oom_kills:
        found.append(f"{count(row.oom_kills, 'process', 'es')} killed for memory in it")
    elif _near(row.memory_peak, row.memory_limit):
        found.append(_close("memory", size(row.memory_peak), size(row.memory_limit), row))
    if row.pids_denied:
        found.append(
            f"{count(row.pids_denied, 'fork')} refused at pids_limit {row.pids_limit}; raise it, "
            "or find the fork loop"
        )
    elif _near(row.pids_peak, row.pids_limit):
        found.append(_close("pids", str(row.pids_peak), str(row.pids_limit), row))
    if row.verdict == "timeout":
        found.append(f"stopped by its timeout after {duration(row.duration_s)}")
    if row.throttled_s and row.duration_s and row.throttled_s > THROTTLED * row.duration_s:
        found.append(
            f"waited {duration(row.throttled_s)} for its CPU quota in {duration(row.duration_s)}"
        )
    if row.retried:
        found.append(f"earlier attempts: {', '.join(map(_earlier, row.retried))}")
    if row.restarts:
        found.append(f"exited by itself and was restarted {count(row.restarts, 'time')}")
    return found


def _earlier(attempt: dict[str, Any]) -> str:
    verdict: str = attempt["verdict"]
    seconds = attempt["duration_s"]
    return verdict if seconds is None else f"{verdict} after {duration(seconds)}"


def _near(peak: int | None, limit: int | None) -> bool:
    return peak is not None and limit is not None and limit > 0 and peak >= NEAR * limit


def _close(what: str, peak: str, limit: str, row: Row) -> str:
    passed = " although it passed" if row.verdict == "ok" else ""
    return f"{what} peak {peak} is close to the limit of {limit}{passed}"
