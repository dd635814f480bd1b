"""What ``up --wait`` waits for: every unit is running, healthy if it says how, or over."""

from __future__ import annotations

from gocker.scheduler.messages import Ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.scheduler.node import Node


class Readiness:
    """Counts down the units; each answer is given once, and only if `wanted`."""

    def __init__(self, wanted: bool, units: int) -> None:
        self._open = wanted
        self._left = units

    def mark(self, node: Node) -> list[Ready]:
        """Note that a unit is ready, or ended without failing the run."""
        if node.ready:
            return []
        node.ready = True
        self._left -= 1
        return self._say(0) if self._left == 0 else []

    def fail(self) -> list[Ready]:
        """Note a failure, an unhealthy unit, or that the time is over."""
        return self._say(1)

    def _say(self, exit_code: int) -> list[Ready]:
        if not self._open:
            return []
        self._open = False
        return [Ready(exit_code)]
