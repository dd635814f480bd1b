"""A heap of timers that can be moved and cancelled in constant time."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from gocker.scheduler.node import Node

    # "life" is a unit's timeout, grace period or delay, as its state says; "run" is the whole
    # run's.
    Timer = tuple[Node | None, Literal["life", "probe", "run"]]


class Timers:
    """At most one timer per key. A cancelled one stays in the heap until it surfaces."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._live: dict[Timer, int] = {}
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._live)

    def set(self, key: Timer, when: float) -> None:
        """Let `key` be due at `when`, instead of any earlier setting."""
        self._sequence += 1
        self._live[key] = self._sequence
        heappush(self._heap, (when, self._sequence, key))
        # Long timeouts of short jobs would pile up: rebuild when most entries are dead, which
        # costs a constant per `set`.
        if len(self._heap) > 64 + 2 * len(self._live):
            self._heap = [entry for entry in self._heap if self._live.get(entry[2]) == entry[1]]
            heapify(self._heap)

    def cancel(self, key: Timer) -> None:
        """Forget `key`'s timer, if there is one."""
        self._live.pop(key, None)

    def deadline(self) -> float | None:
        """Return when the next timer is due, or None without any."""
        heap = self._heap
        while heap and self._live.get(heap[0][2]) != heap[0][1]:
            heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now: float) -> Timer | None:
        """Remove and return the earliest key that is due, or None."""
        deadline = self.deadline()
        if deadline is None or deadline > now:
            return None
        key = heappop(self._heap)[2]
        del self._live[key]
        return key
