"""What the run's log says of containers: their starts, limits and ends."""

from __future__ import annotations

from gocker import events
from gocker.scheduler.attempt import Ended
from gocker.scheduler.launcher import lost
from gocker.scheduler.messages import signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.scheduler.attempt import Attempt
    from gocker.scheduler.messages import Finish, Verdict
    from gocker.scheduler.output import Streams
    from gocker.scheduler.surroundings import Surroundings

EVIDENCE = tuple(
    key for key in events.EVENTS["container.exited"][1]
    if key.split(".")[0] in ("cpu", "memory", "pids", "io")
)  # fmt: skip


class Chronicle:
    """Writes records through `around`."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    def started(self, attempt: Attempt, message: dict[str, Any]) -> None:
        """A container was started, with these limits."""
        fields = attempt.fields()
        self._around.record("container.started", fields | {
            "process.pid": message["pid"], "process.start_time": message["start_time"],
            "image": attempt.image, "start_s": message["start_s"],
            "layer": message.get("layer") or "",
        })  # fmt: skip
        for limit, requested, effective, file in message["applied"]:
            self._around.record("limit.applied", fields | {
                "limit": limit, "requested": requested, "effective": effective, "file": file,
            })  # fmt: skip
        for limit, requested, reason in message["skipped"]:
            self._around.record("limit.skipped", fields | {
                "limit": limit, "requested": requested, "reason": reason,
            })  # fmt: skip

    def ended(self, attempt: Attempt, command: Verdict) -> None:
        """A container has ended, or could not be started; take what is wanted of its files."""
        ended = attempt.ended
        fields = attempt.fields() | {"verdict": command.verdict, "next": command.next}
        if ended is None:  # the launcher is gone: nobody knows how it ended
            fields["error"] = lost().to_wire()
            self._around.record("container.failed", fields)
        elif "error" in ended:
            self._around.record("container.failed", fields | {"error": ended["error"]})
        else:
            self._exit(attempt, ended, fields)
            if attempt.streams is not None and attempt.streams.lost:
                self._loss(attempt, attempt.streams)
            if "upper" in ended:
                self._take_files(attempt, ended["upper"], command)

    def _exit(self, attempt: Attempt, ended: dict[str, Any], fields: dict[str, Any]) -> None:
        number = ended["signal"]
        stats = ended["stats"]
        if stats.get("memory.oom_kills"):
            self._around.record("container.oom", attempt.fields() | {
                "memory.limit": stats["memory.limit"], "memory.peak": stats["memory.peak"],
                "oom_kills": stats["memory.oom_kills"],
            })  # fmt: skip
        fields |= {key: stats.get(key) for key in EVIDENCE}
        fields["process.exit.code"] = ended["code"]
        fields["process.exit.signal"] = None if number is None else signal_name(number)
        fields["duration_s"] = ended["duration_s"]
        self._around.record("container.exited", fields)

    def _loss(self, attempt: Attempt, streams: Streams) -> None:
        fields = attempt.fields()
        del fields["attempt"], fields["container.id"]
        self._around.record("job.warned", fields | {
            "message": f"{streams.lost} bytes of its log are lost: {streams.loss}",
            "hint": "; ".join(filter(None, (streams.remedy, "the job itself was not disturbed"))),
        })  # fmt: skip

    def _take_files(self, attempt: Attempt, upper: str, verdict: Verdict) -> None:
        """Before the next command, so before anyone who depends on the unit starts."""
        names = attempt.fields()

        def record(event: str, fields: dict[str, Any]) -> None:
            known = events.EVENTS[event][1]
            own = {key: value for key, value in names.items() if key in known}
            self._around.record(event, own | fields)

        ended = Ended(attempt.instance, attempt.number, attempt.id, upper, attempt.anonymous,
                      attempt.made, attempt.image)  # fmt: skip
        try:
            self._around.collect(ended, verdict, record)
        finally:
            attempt.link.send({"op": "release", "id": attempt.id})

    def finished(self, command: Finish, duration_s: float) -> None:
        """The run is over."""
        fields: dict[str, Any] = {
            "exit_code": command.exit_code,
            "reason": command.reason,
            "totals": dict(command.totals),
            "duration_s": round(duration_s, 6),
        }
        if command.error is not None:
            fields["error"] = dict(command.error)
        self._around.record("run.finished", fields)
