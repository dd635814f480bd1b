"""A run as one document: every attempt with its times and figures, and the critical path.

Made from the records of ``run.jsonl``; what only the plan knows (dependencies, places) is added
where there is one. The HTML page and `gocker compare` read it.
"""

from __future__ import annotations

from gocker.report.lines import explain
from gocker.report.summary import Summary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from gocker.plan.model import Plan
    from gocker.report.lines import Record

# The figures of container.exited that a document has, by their short names.
_FIGURES = {
    "code": "process.exit.code", "signal": "process.exit.signal", "throttled": "cpu.throttled_s",
    "peak": "memory.peak", "limit": "memory.limit", "pids": "pids.peak", "pids_limit": "pids.limit",
    "denied": "pids.denied", "ooms": "memory.oom_kills", "read": "io.read_bytes",
    "written": "io.write_bytes",
}  # fmt: skip
_HOST = ("gocker.version", "host.kernel", "host.cgroup", "host.cpus", "isolation", "parallel",
         "spec.files")  # fmt: skip


class History:
    """Collects a run's records; `document` is the result.

    Times are seconds since the run began, on the monotonic clock.

    Args:
        plan: that of the run; None where none was kept.
        clean: takes out what must not be shown; None: nobody knows what that is, so commands
            and environments are left out.
    """

    def __init__(self, plan: Plan | None = None, clean: Callable[[str], str] | None = str) -> None:
        self._plan = plan
        self._clean = clean
        self._summary = Summary()
        self._begin = 0.0
        self._end = 0.0
        self._time = ""
        self._host: dict[str, Any] = {}
        self._attempts: dict[str, list[dict[str, Any]]] = {}
        self._notes: list[str] = []

    def add(self, record: Record) -> None:
        """Take in a record of the run, in their order."""
        self._summary.add(record)
        self._end = record["monotonic"] - self._begin
        event = record["event"]
        if event == "run.started":
            self._begin, self._end, self._time = record["monotonic"], 0.0, record["time"]
            self._host = {key: record[key] for key in _HOST}
        elif event == "container.started":
            self._attempt(record)["start"] = self._end
        elif event == "container.exited":
            attempt = self._attempt(record)
            attempt |= {name: record[key] for name, key in _FIGURES.items()}
            attempt["cpu"] = (record["cpu.user_s"] or 0.0) + (record["cpu.system_s"] or 0.0)
            self._ended(attempt, record)
        elif event == "container.failed":
            self._ended(self._attempt(record), record)
        elif event in ("security.missing", "key.ignored", "job.warned"):
            self._notes.append(_note(record))

    def document(self, tail: Callable[[str, int], str] | None = None) -> dict[str, Any]:
        """Return everything as JSON values.

        Args:
            tail: returns the last lines of an attempt's output; asked for what did not end well.
        """
        summary = self._summary
        jobs = [self._job(name, tail) for name in summary.rows]
        return {
            "run": summary.run_id, "project": summary.project, "time": self._time,
            "exit_code": summary.exit_code, "reason": summary.reason, "error": summary.error,
            "duration": self._end if summary.duration_s is None else summary.duration_s,
            "totals": summary.totals(), "hints": summary.hints(), "notes": self._notes,
            "host": self._host, "jobs": jobs, "critical": critical_path(jobs),
        }  # fmt: skip

    def _attempt(self, record: Record) -> dict[str, Any]:
        attempts = self._attempts.setdefault(record["instance"], [])
        for attempt in attempts:
            if attempt["n"] == record["attempt"]:
                return attempt
        attempts.append({"n": record["attempt"], "start": None, "end": None, "verdict": None})
        return attempts[-1]

    def _ended(self, attempt: dict[str, Any], record: Record) -> None:
        attempt["end"] = self._end
        attempt["verdict"] = record["verdict"]
        attempt["why"] = explain(record["verdict"], record)

    def _job(self, name: str, tail: Callable[[str, int], str] | None) -> dict[str, Any]:
        row = self._summary.rows[name]
        attempts = self._attempts.get(name, [])
        for attempt in attempts:
            if tail is not None and attempt["verdict"] not in (None, "ok"):
                attempt["tail"] = tail(name, attempt["n"])
        return {
            "name": name, "service": row.service, "verdict": row.verdict or "unfinished",
            "failed": row.failed, "allowed": row.allowed, "because": row.because,
            "error": row.error, "attempts": attempts, **self._planned(name),
        }  # fmt: skip

    def _planned(self, name: str) -> dict[str, Any]:
        """Return what the plan says of an instance."""
        plan = self._plan
        unit = None if plan is None else plan.units.get(name)
        if plan is None or unit is None:
            return {"depends": []}
        found: dict[str, Any] = {
            "depends": [edge.unit for edge in unit.depends], "image": unit.image,
            "cpus": unit.limits.cpus,
        }  # fmt: skip
        container = plan.containers.get(name)
        if container is not None and self._clean is not None:
            process = container.config["process"]
            found["command"] = [self._clean(word) for word in process["args"]]
            found["environment"] = [self._clean(item) for item in process.get("env", ())]
        return found


def critical_path(jobs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the chain of jobs that the run's end waited for, first one first.

    From the job that ended last, each time to the dependency that ended last (or, of one that
    outlived it, began last).
    """
    known = {job["name"]: job for job in jobs}
    spans = {name: span for name, job in known.items() if (span := _span(job)) is not None}
    path: list[str] = []
    at = max(spans, key=lambda name: spans[name][1], default=None)
    while at is not None and at not in path:
        path.append(at)
        start = spans[at][0]
        before = [name for name in known[at]["depends"] if name in spans]
        at = max(before, key=lambda name: _ready(spans[name], start), default=None)
    return path[::-1]


def _span(job: Mapping[str, Any]) -> tuple[float, float] | None:
    starts = [it["start"] for it in job["attempts"] if it["start"] is not None]
    ends = [it["end"] for it in job["attempts"] if it["end"] is not None]
    return (min(starts), max(ends)) if starts and ends else None


def _ready(span: tuple[float, float], start: float) -> float:
    return span[1] if span[1] <= start else span[0]


def _note(record: Record) -> str:
    if record["event"] == "key.ignored":
        return f"{record['place']}: {record['path']}: {record['reason']}"
    if record["event"] == "job.warned":
        return f"{record['instance']}: {record['message']}"
    return f"{record['what']}: {record['detail']}"
