"""Which of the ready jobs may start: ``parallel`` for all, ``max_parallel`` for a matrix."""

from __future__ import annotations

from collections import deque

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


class Slots:
    """The queue of ready jobs, first in, first out. Support services never come here.

    A job that was cancelled stays in the queue and is passed over when its turn comes.
    """

    def __init__(self, limit: int, matrices: Mapping[str, MatrixGroup]) -> None:
        self._limit = limit
        self._running = 0
        self._ready: deque[Node] = deque()
        self._groups = {
            name: _Group(group.max_parallel)
            for name, group in matrices.items()
            if group.max_parallel is not None
        }

    def offer(self, node: Node) -> None:
        """Queue a job whose conditions hold."""
        self._ready.append(node)

    def take(self) -> Node | None:
        """Return the next job that may start, its slot taken, or None."""
        while self._ready and (self._limit <= 0 or self._running < self._limit):
            node = self._ready.popleft()
            if node.state is not State.READY:
                continue
            group = self._groups.get(node.unit.matrix or "")
            if group is not None:
                if group.running >= group.limit:
                    group.parked.append(node)
                    continue
                group.running += 1
            self._running += 1
            return node
        return None

    def release(self, node: Node) -> None:
        """Give back the slot of a job whose attempt is over."""
        self._running -= 1
        group = self._groups.get(node.unit.matrix or "")
        if group is None:
            return
        group.running -= 1
        while group.parked:
            parked = group.parked.popleft()
            if parked.state is State.READY:
                self._ready.appendleft(parked)
                break
