"""What others wait for: that units are decided, ready or over. See `messages.Await`."""

from __future__ import annotations

from gocker.scheduler.messages import Answer, Exited
from gocker.scheduler.node import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Literal

    from gocker.scheduler.messages import Await, Command
    from gocker.scheduler.node import Node

    Verdict = Literal["pending", "done", "failed"]


class Waits:
    """All that somebody waits for. Each is looked at only when one of its units changes."""

    def __init__(self, out: Callable[[], list[Command]]) -> None:
        self._out = out
        self._waits: list[_Wait] = []

    def open(self, await_: Await, nodes: Iterable[Node]) -> None:
        """Begin to wait; what holds already is answered at once."""
        wait = _Wait(await_, _RULES[await_.what], set(nodes))
        self._waits.append(wait)
        for node in list(wait.pending):
            self._look(wait, node)
        self._finish(wait)

    def changed(self, node: Node) -> None:
        """Note that a unit's state changed."""
        for wait in list(self._waits):
            if node in wait.nodes:
                self._look(wait, node)
                self._finish(wait)

    def _look(self, wait: _Wait, node: Node) -> None:
        verdict = _over(node) if node.name in wait.gone else wait.rule(node)
        if verdict == "pending":
            wait.pending.add(node)
            return
        wait.pending.discard(node)
        if verdict == "failed" and wait.because is None:
            wait.because = node.name

    def _finish(self, wait: _Wait) -> None:
        failed = wait.because is not None
        # Why a start failed is worth the others' decisions; an unhealthy unit is worth none.
        if wait.pending and not (failed and wait.what in ("ready", "served")):
            return
        if wait in self._waits:
            self._waits.remove(wait)
            self._out().append(Answer(wait.token, int(failed), wait.because))


class _Wait:
    """One of them. `pending`: units for which it does not hold yet."""

    __slots__ = ("because", "gone", "nodes", "pending", "rule", "token", "what")

    def __init__(self, await_: Await, rule: Callable[[Node], Verdict], nodes: set[Node]) -> None:
        self.token = await_.token
        self.what = await_.what
        self.gone = frozenset(await_.gone)
        self.rule = rule
        self.nodes = nodes
        self.pending = set(nodes)
        self.because: str | None = None


def _decided(node: Node) -> Verdict:
    if node.leaving:
        return "pending"
    if node.state is State.FINISHED:
        outcome = node.outcome
        chosen = outcome is None or (outcome.verdict == "skipped" and not node.broken)
        return "done" if node.started or chosen else "failed"
    if node.state in (State.WAITING, State.STARTING):
        return "pending"
    if node.state is State.BACKOFF and not isinstance(node.last, Exited):
        return "pending"  # it could not be started yet
    # Its start is not over before the last program of post_start is.
    return "pending" if node.unit.post_start and not node.started else "done"


def _ready(node: Node) -> Verdict:
    if node.leaving:
        return "pending"
    if node.outcome is not None and node.outcome.failed:
        return "failed"
    if node.health is not None and node.health.status == "unhealthy":
        return "failed"
    if node.state is State.FINISHED:
        # What was stopped before it was ready will not be.
        return "done" if node.ready or node.stop_reason is None else "failed"
    return "done" if node.ready else "pending"


def _served(node: Node) -> Verdict:
    """As `_ready`, but what nobody can wait for need only have started, as jobs do."""
    unit = node.unit
    started = node.state is State.FINISHED and node.started and not node.leaving
    return "done" if started and unit.health is None and unit.ready is None else _ready(node)


def _over(node: Node) -> Verdict:
    return "done" if node.state is State.FINISHED and not node.leaving else "pending"


_RULES: dict[str, Callable[[Node], Verdict]] = {
    "decided": _decided, "ready": _ready, "served": _served, "over": _over,
}  # fmt: skip
