"""A run's figures as an OpenMetrics text file, for a textfile collector.

Source: the OpenMetrics specification, text format. All are gauges: a file is one moment.
"""

from __future__ import annotations

from gocker.report.human import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gocker.report.summary import Row, Summary

    Value = float | int | bool | None

# name: (unit, help, value of a row)
_JOB: dict[str, tuple[str, str, Callable[[Row], Value]]] = {
    "duration_seconds": ("seconds", "time of the last attempt", lambda row: row.duration_s),
    "cpu_seconds": ("seconds", "CPU time of the last attempt", lambda row: row.cpu_s),
    "cpu_throttled_seconds": ("seconds", "waited for its CPU quota", lambda row: row.throttled_s),
    "memory_peak_bytes": ("bytes", "highest use of memory", lambda row: row.memory_peak),
    "memory_limit_bytes": ("bytes", "limit of memory", lambda row: row.memory_limit),
    "oom_kills": ("", "processes killed for memory", lambda row: row.oom_kills),
    "pids_peak": ("", "most tasks at once", lambda row: row.pids_peak),
    "pids_denied": ("", "forks refused by the limit", lambda row: row.pids_denied),
    "attempts": ("", "attempts made", lambda row: row.attempts),
    "failed": ("", "1 if it made the run fail", lambda row: row.failed),
}


def text(summary: Summary) -> str:
    """Return the file."""
    run = {"project": summary.project}
    lines = [*_family("gocker_run_duration_seconds", "seconds", "time of the run")]
    lines += _sample("gocker_run_duration_seconds", run, summary.duration_s)
    lines += [*_family("gocker_run_exit_code", "", "exit code of the run")]
    lines += _sample("gocker_run_exit_code", run, summary.exit_code)
    lines += [*_family("gocker_jobs", "", "instances by verdict")]
    for verdict, number in summary.totals().items():
        lines += _sample("gocker_jobs", {**run, "verdict": verdict}, number)
    for name, (unit, about, value) in _JOB.items():
        lines += _family(f"gocker_job_{name}", unit, about)
        for row in summary.rows.values():
            labels = {**run, "service": row.service, "instance": row.instance}
            lines += _sample(f"gocker_job_{name}", labels, value(row))
    return "\n".join([*lines, "# EOF"]) + "\n"


def _family(name: str, unit: str, about: str) -> Iterator[str]:
    yield f"# TYPE {name} gauge"
    if unit:
        yield f"# UNIT {name} {unit}"
    yield f"# HELP {name} {about}"


def _sample(name: str, labels: dict[str, str], value: Value) -> list[str]:
    """Return one line; none for what the kernel did not tell."""
    if value is None:
        return []
    pairs = ",".join(f'{key}="{_escaped(item)}"' for key, item in labels.items())
    return [f"{name}{{{pairs}}} {float(value)!r}"]


def _escaped(item: str) -> str:
    return safe(item).replace("\\", r"\\").replace('"', r"\"")
