"""The health of one container, as dockerd computes it (moby daemon/health.go)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from gocker.plan.model import Healthcheck

    Status = Literal["starting", "healthy", "unhealthy"]


class Health:
    """Status and failing streak of one attempt, from its start on."""

    __slots__ = ("_probed_at", "_started_at", "check", "failing_streak", "status")

    def __init__(self, check: Healthcheck, now: float) -> None:
        self.check = check
        self.status: Status = "starting"
        self.failing_streak = 0
        self._started_at = now
        self._probed_at = now

    def next_probe(self, now: float) -> float:
        """Return when to probe next: an interval after the start or the end of the last probe.

        `start_interval` counts until the container is healthy or `start_period` is over.
        """
        if self.status == "starting" and now - self._started_at < self.check.start_period_s:
            return now + self.check.start_interval_s
        return now + self.check.interval_s

    def probe(self, now: float) -> None:
        """Note that a probe begins."""
        self._probed_at = now

    def result(self, exit_code: int | None) -> bool:
        """Take the probe's exit code, None for a timeout; return whether the status changed.

        A failure of a probe begun in `start_period`, before the first success, does not count.
        """
        before = self.status
        if exit_code == 0:
            self.failing_streak = 0
            self.status = "healthy"
        elif self.status != "starting" or not self._in_start_period():
            self.failing_streak += 1
            if self.failing_streak >= self.check.retries:
                self.status = "unhealthy"
        return self.status != before

    def _in_start_period(self) -> bool:
        return self._probed_at - self._started_at < self.check.start_period_s
