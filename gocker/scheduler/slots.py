"""Which of the ready jobs may start.

``parallel`` bounds all, ``max_parallel`` a matrix, and with admission by reservations what runs
at the same time fits the host.
"""

from __future__ import annotations

from collections import deque

from gocker.plan.model import Reservation
from gocker.scheduler.node import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from gocker.plan.model import MatrixGroup
    from gocker.scheduler.node import Node


class _Group:
    __slots__ = ("limit", "parked", "running")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running = 0
        self.parked: deque[Node] = deque()


class _Host:
    """What is left to reserve: thousandths of CPUs, so that sums are exact, and bytes."""

    __slots__ = ("cpus", "memory")

    def __init__(self, capacity: Reservation) -> None:
        self.cpus = _thousandths(capacity)
        self.memory = capacity.memory

    def fits(self, wanted: Reservation) -> bool:
        return _thousandths(wanted) <= self.cpus and wanted.memory <= self.memory

    def take(self, wanted: Reservation, times: int) -> None:
        self.cpus -= times * _thousandths(wanted)
        self.memory -= times * wanted.memory


def _thousandths(reservation: Reservation) -> int:
    return round(reservation.cpus * 1000)


_NOTHING = Reservation()


class Slots:
    """The queue of ready jobs, first in, first out. Support services never come here.

    A job that was cancelled stays in the queue and is passed over when its turn comes. Jobs
    that reserve something wait in their order for the host, so that none waits for ever; jobs
    without reservation go past them.
    """

    def __init__(
        self, limit: int, matrices: Mapping[str, MatrixGroup], capacity: Reservation | None = None
    ) -> None:
        self._limit = limit
        self._running = 0
        self._ready: deque[Node] = deque()
        self._reserving: deque[Node] = deque()
        self._host = None if capacity is None else _Host(capacity)
        self._groups: dict[str, _Group] = {}
        self.adopt(matrices)

    def adopt(self, matrices: Mapping[str, MatrixGroup]) -> None:
        """Limit the units of further matrices."""
        for name, group in matrices.items():
            if group.max_parallel is not None and name not in self._groups:
                self._groups[name] = _Group(group.max_parallel)

    def offer(self, node: Node) -> None:
        """Queue a job whose conditions hold."""
        self._ready.append(node)

    def take(self) -> Node | None:
        """Return the next job that may start, its slot taken, or None."""
        while self._limit <= 0 or self._running < self._limit:
            node = self._next()
            if node is None:
                break
            group = self._groups.get(node.unit.matrix or "")
            if group is not None:
                if group.running >= group.limit:
                    group.parked.append(node)
                    continue
                group.running += 1
            self._running += 1
            self.hold(node)
            return node
        return None

    def _next(self) -> Node | None:
        """Take the next job out of the queues that is still wanted and for which there is room."""
        host, reserving = self._host, self._reserving
        while reserving and reserving[0].state is not State.READY:
            reserving.popleft()
        if reserving and host is not None and host.fits(reserving[0].unit.reserve):
            return reserving.popleft()
        while self._ready:
            node = self._ready.popleft()
            if node.state is not State.READY:
                continue
            wanted = node.unit.reserve
            if host is None or wanted == _NOTHING or (not reserving and host.fits(wanted)):
                return node
            reserving.append(node)
        return None

    def resume(self, node: Node) -> None:
        """Take the slot of a job that runs already, whether there is one or not."""
        group = self._groups.get(node.unit.matrix or "")
        if group is not None:
            group.running += 1
        self._running += 1
        self.hold(node)

    def hold(self, node: Node) -> None:
        """Take a unit's reservation; a support service's whether there is room or not."""
        if self._host is not None:
            self._host.take(node.unit.reserve, 1)

    def let_go(self, node: Node) -> None:
        """Give back a unit's reservation."""
        if self._host is not None:
            self._host.take(node.unit.reserve, -1)

    def release(self, node: Node) -> None:
        """Give back the slot of a job whose attempt is over."""
        self._running -= 1
        self.let_go(node)
        group = self._groups.get(node.unit.matrix or "")
        if group is None:
            return
        group.running -= 1
        while group.parked:
            parked = group.parked.popleft()
            if parked.state is State.READY:
                self._ready.appendleft(parked)
                break
