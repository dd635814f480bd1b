"""One record of run.jsonl as one line for a human: who, what, and the figures."""

from __future__ import annotations

from collections import namedtuple

from gocker.report.human import count, duration, safe, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal, NamedTuple

    Record = dict[str, Any]
    Level = Literal["debug", "info", "warning", "error"]

    Saying = tuple[Level, str, str]


if TYPE_CHECKING:

    class Line(NamedTuple):
        """A line of progress. All texts are free of control characters."""

        level: Level
        who: str
        what: str
        detail: str
else:
    Line = namedtuple("Line", "level who what detail")


def error_text(error: Record) -> str:
    """Return the message of an error's wire form with its causes and its hint."""
    parts = [str(error.get("message", ""))]
    cause = error.get("cause")
    while isinstance(cause, dict):
        parts.append(str(cause.get("message", "")))
        cause = cause.get("cause")
    hint = error.get("hint")
    return ": ".join(parts) + (f" (hint: {hint})" if hint else "")


def explain(verdict: str, last: Record) -> str:
    """Return why an attempt got its verdict; `last` is its container.exited or .failed."""
    took = duration(last.get("duration_s"))
    if verdict == "oom":
        limit, peak = size(last.get("memory.limit")), size(last.get("memory.peak"))
        return f"killed at {limit} (peak {peak})"
    if verdict == "pids":
        denied = last.get("pids.denied") or 0
        return f"{count(denied, 'fork')} refused at {count(last.get('pids.limit') or 0, 'task')}"
    if verdict == "timeout":
        return f"stopped after {took}"
    if verdict == "signal":
        return f"killed by {last.get('process.exit.signal')} after {took}"
    if verdict == "start_failed":
        return error_text(last.get("error") or {})
    if verdict == "exit":
        return f"exit code {last.get('process.exit.code')} after {took}"
    if not last:
        return ""
    return f"{took}, peak {size(last.get('memory.peak'))}"


class Narrator:
    """Turns records into lines; remembers each instance's last attempt for the final word."""

    def __init__(self) -> None:
        self._last: dict[str, Record] = {}

    def line(self, record: Record) -> Line:
        """Return the line for `record`; level "debug" is for what only ``--verbose`` shows."""
        event = record["event"]
        who = record.get("instance") or record.get("project", "")
        if event in ("container.exited", "container.failed"):
            self._last[record["instance"]] = record
        if event == "job.finished":
            level, what, detail = _finished(record, self._last.pop(record["instance"], {}))
        else:
            level, what, detail = _SAY.get(event, _unknown)(record)
        return Line(level, safe(str(who)), safe(what), safe(detail))


def _finished(record: Record, last: Record) -> Saying:
    verdict = record["verdict"]
    if verdict == "skipped":
        return "debug", "skipped", ""
    if verdict == "ok":
        again = f", attempt {record['attempts']}" if record["attempts"] > 1 else ""
        return "info", "ok", explain(verdict, last) + again
    detail = f"{verdict}: {explain(verdict, last)}, {count(record['attempts'], 'attempt')}"
    if record["failed"]:
        return "error", "FAILED", detail
    return "warning", "failed", f"{detail}, allowed" if record["allowed"] else detail


def _attempt_ended(record: Record) -> Saying:
    verdict = record["verdict"]
    detail = f"{verdict}: {explain(verdict, record)}, attempt {record['attempt']}"
    # The last attempt's figures are in the line of job.finished.
    return ("debug" if record["next"] == "done" else "warning"), "exited", detail


def _health(record: Record) -> Saying:
    if record["status"] != "unhealthy":
        return "info", record["status"], ""
    probes = count(record["failing_streak"], "probe")
    return "warning", "unhealthy", f"{probes} failed: {record['output'][-200:]}"


def _run_finished(record: Record) -> Saying:
    detail = (
        f"{record['reason']}, exit code {record['exit_code']}, {duration(record['duration_s'])}"
    )
    if "error" in record:
        detail += f": {error_text(record['error'])}"
    return ("error" if record["exit_code"] else "info"), "finished", detail


def _unknown(record: Record) -> Saying:
    """An event of a newer gocker, when an old one replays its log."""
    return "debug", str(record["event"]), ""


_SAY: dict[str, Callable[[Record], Saying]] = {
    "run.started": lambda r: (
        "info",
        "run",
        f"{r['run.id']}: {count(r['units'], 'unit')}, {r['parallel']} at once, "
        f"{r['isolation']}, cgroup {r['host.cgroup']}",
    ),
    "key.ignored": lambda r: ("warning", "ignored", f"{r['place']}: {r['path']}: {r['reason']}"),
    "security.relaxed": lambda r: (
        "warning",
        "relaxed",
        ", ".join(dict.fromkeys(item["because"] for item in r["weaker"])),
    ),
    "security.missing": lambda r: ("warning", "missing", f"{r['what']}: {r['detail']}"),
    "volume.created": lambda r: ("debug", "volume", f"{r['volume']}: {r['path']}"),
    "container.started": lambda r: (
        "info",
        "started",
        f"pid {r['process.pid']}, {duration(r['start_s'])}"
        + (f", attempt {r['attempt']}" if r["attempt"] > 1 else ""),
    ),
    "limit.applied": lambda r: ("debug", "limit", f"{r['limit']} = {r['effective']}"),
    "limit.skipped": lambda r: (
        "warning",
        "no limit",
        f"{r['limit']} = {r['requested']}: {r['reason']}",
    ),
    "container.oom": lambda r: (
        "warning",
        "oom",
        f"{count(r['oom_kills'], 'process', 'es')} killed at {size(r['memory.limit'])} "
        f"(peak {size(r['memory.peak'])})",
    ),
    "container.health": _health,
    "container.hook": lambda r: (
        "warning" if r["exit_code"] else "debug",
        r["hook"],
        f"program {r['number']} ended with {r['exit_code']}: {r['output'].strip()[-200:]}",
    ),
    "container.stopping": lambda r: ("info", "stopping", f"{r['signal']}: {r['reason']}"),
    "container.exited": _attempt_ended,
    "container.failed": _attempt_ended,
    "artifact.saved": lambda r: (
        "debug",
        "artifact",
        f"{r['path']}, {size(r['bytes'])}: {r['file']}",
    ),
    "layer.kept": lambda r: ("info", "kept", r["path"]),
    "job.warned": lambda r: (
        "warning",
        "warning",
        r["message"] + (f" ({r['hint']})" if r["hint"] else ""),
    ),
    "job.retry": lambda r: ("info", "retry", f"in {duration(r['delay_s'])}"),
    "job.skipped": lambda r: ("warning", "skipped", f"because of {r['because']}"),
    "container.lost": lambda r: ("error", "lost", r["reason"]),
    "container.paused": lambda _: ("info", "paused", ""),
    "container.unpaused": lambda _: ("info", "unpaused", ""),
    "run.requested": lambda r: ("info", "request", f"{r['request']} {' '.join(r['units'])}"),
    "run.detached": lambda r: ("debug", "detached", f"pid {r['process.pid']}"),
    "run.interrupted": lambda r: ("warning", "stopping", r["signal"]),
    "run.finished": _run_finished,
}
