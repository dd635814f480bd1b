"""Progress: units and their graph, from waiting to the last word. Knows nothing of events."""

from __future__ import annotations

from collections import deque
from enum import Enum
from functools import partial

from gocker.scheduler import records
from gocker.scheduler.ending import ABORT, FAIL_FAST
from gocker.scheduler.messages import Exited, Outcome, StartFailed
from gocker.scheduler.node import ACTIVE, State
from gocker.scheduler.verdict import is_allowed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gocker.plan.model import MatrixGroup
    from gocker.scheduler.attempts import Attempts
    from gocker.scheduler.ending import Ending
    from gocker.scheduler.messages import VerdictName
    from gocker.scheduler.node import Edges, Node
    from gocker.scheduler.readiness import Readiness


NOT_NEEDED = "not_needed"
NO_FAILURE = "no_failure"
RESTARTING = "restarting"

# What a unit means to its dependents. MOOT: it did not run, and nothing failed.
Means = Enum("Means", "PASSED FAILED MOOT")


class Progress:
    """Carries what happens to a unit to the units around it.

    Consequences queue up and `settle` works them off: a chain of any length needs no stack.
    """

    def __init__(
        self,
        nodes: dict[str, Node],
        attempts: Attempts,
        ending: Ending,
        readiness: Readiness,
    ) -> None:
        self.unfinished = len(nodes)
        self.totals: dict[str, int] = {}
        self._nodes = nodes
        self._attempts = attempts
        self._ending = ending
        self._readiness = readiness
        self._jobs_left = sum(not node.is_support for node in nodes.values())
        self._fail_fast = False
        self._matrices: dict[str, list[Node]] = {}
        # Units whose dependents do not know yet that they ended; then what failures entail.
        self._ended: deque[tuple[Node, Means]] = deque()
        self._pending: deque[Callable[[], None]] = deque()

    def fail_fast(self, everything: bool, matrices: dict[str, MatrixGroup]) -> None:
        """Cancel the rest at the first failure: of the run, or of a matrix."""
        self._fail_fast = everything
        self._matrices = {name: [] for name, group in matrices.items() if group.fail_fast}
        for node in self._nodes.values() if self._matrices else ():
            if node.unit.matrix in self._matrices:
                self._matrices[node.unit.matrix].append(node)

    def begin(self) -> None:
        """Release the units that wait for nothing."""
        if not self._jobs_left:
            self._retire_sidecars()
        for node in self._nodes.values():
            if not node.unmet and node.state is State.WAITING:
                self._decide(node)

    def settle(self) -> None:
        """Work off all consequences and fill the free slots."""
        while True:
            if self._ended:
                self._propagate(*self._ended.popleft())
            elif self._pending:
                self._pending.popleft()()
            else:
                self._attempts.start_ready()
                return

    # Conditions -------------------------------------------------------------------------------

    def started(self, node: Node) -> None:
        """Fulfil ``service_started``, the first time."""
        if not node.started:
            node.started = True
            self._resolve(node, node.on_started, Means.PASSED)

    def health_known(self, node: Node, healthy: bool) -> None:
        """Fulfil ``service_healthy`` or break it, the first time."""
        if not healthy:
            node.unhealthy = node.unhealthy or node.fails_waiting()
        self._resolve_health(node, Means.PASSED if healthy else Means.FAILED)

    def _resolve_health(self, node: Node, means: Means) -> None:
        if not node.health_known:
            node.health_known = True
            self._resolve(node, node.on_healthy, means)

    def _resolve(self, node: Node, edges: Edges, means: Means) -> None:
        """Tell dependents that one of their conditions holds, or never will."""
        for dependent, required in edges:
            if dependent.state is not State.WAITING:
                continue
            dependent.unmet -= 1
            if means is not Means.PASSED:
                if required:
                    self._break(dependent, node, means)
                else:
                    self._attempts.out.append(records.not_required(dependent, node.name))
            if not dependent.unmet and dependent.state is State.WAITING:
                self._decide(dependent)

    def _break(self, dependent: Node, node: Node, means: Means) -> None:
        """Note a condition that cannot hold any more; skip the dependent if that is its rule."""
        if means is Means.FAILED:
            dependent.broken = True
        else:
            dependent.moot = dependent.moot or node.root
        if dependent.unit.when == "on_success":
            dependent.root = node.root
            self.finish(dependent, "skipped", node.root)

    def _decide(self, node: Node) -> None:
        """Run or skip a unit whose conditions are all settled."""
        if node.unit.when == "on_failure" and not node.broken:
            self.finish(node, "skipped", node.moot or NO_FAILURE)
        else:
            self._attempts.enqueue(node)

    # The end of a unit ------------------------------------------------------------------------

    def finish(self, node: Node, verdict: VerdictName, because: str | None) -> None:
        """Give the last word on a unit."""
        node.state = State.FINISHED
        self._attempts.cancel_timers(node)
        outcome = node.outcome = _outcome(node, verdict, because)
        out = self._attempts.out
        if not node.attempt:
            out.append(records.skipped(node, because or verdict))
        out.append(records.finished(node, outcome))
        self.totals[verdict] = self.totals.get(verdict, 0) + 1
        self.unfinished -= 1
        self._jobs_left -= not node.is_support
        self._ended.append((node, _means(node, outcome)))
        if outcome.failed:
            out.extend(self._readiness.fail())
            self._on_failure(node)
        out.extend(self._readiness.mark(node))
        if self._ending.finished(node, outcome):
            self._pending.append(partial(self.close, ABORT))

    def _on_failure(self, node: Node) -> None:
        group = self._matrices.pop(node.unit.matrix or "", None)
        if group is not None:
            self._pending.append(partial(self._cancel_all, group, FAIL_FAST))
        if self._fail_fast:
            self._fail_fast = False
            # Whoever cleans up or reports after a failure still runs, and what it needs.
            rest = [
                other
                for other in self._reversed()
                if not other.is_support and other.unit.when == "on_success"
            ]
            self._pending.append(partial(self._cancel_all, rest, FAIL_FAST))

    def _propagate(self, node: Node, means: Means) -> None:
        """Tell those around a unit that it ended: dependents first, then what it needed."""
        if not node.started:
            self._resolve(node, node.on_started, means)
        # Who ends well before it is healthy has still failed those who waited for that.
        ended_well = node.outcome is not None and node.outcome.verdict == "ok"
        self._resolve_health(node, Means.FAILED if ended_well else means)
        self._resolve(node, node.on_completed, means)
        if means is Means.FAILED and node.is_support:
            self._break_late(node)
        for dependency in node.unit.depends:
            target = self._nodes.get(dependency.unit)
            if target is not None and dependency.condition != "service_completed_successfully":
                target.needed -= 1
                self._check_need(target)
        if not self._jobs_left:
            self._jobs_left = -1  # so that this is done once
            self._retire_sidecars()

    def _break_late(self, node: Node) -> None:
        """A service that failed for good does not serve those who have not begun yet."""
        for edges in (node.on_started, node.on_healthy):
            for dependent, required in edges:
                waits = dependent.state is State.WAITING or (
                    dependent.state is State.READY and not dependent.attempt
                )
                if required and waits:
                    self._break(dependent, node, Means.FAILED)

    def _check_need(self, node: Node) -> None:
        """Stop what no unfinished dependent needs: support, or anything when the run closes."""
        if node.needed or node.state is State.FINISHED:
            return
        if self._ending.closing is not None:
            self._cancel(node, self._ending.closing)
        elif node.is_support:
            self._cancel(node, NOT_NEEDED)

    def _retire_sidecars(self) -> None:
        self._cancel_all((n for n in self._reversed() if n.is_sidecar), NOT_NEEDED)

    def _reversed(self) -> Iterator[Node]:
        """Return the units, dependents before what they depend on."""
        return map(self._nodes.__getitem__, reversed(self._nodes))

    # Cancelling -------------------------------------------------------------------------------

    def close(self, reason: str) -> None:
        """Stop the run: nothing starts any more, what runs is stopped, dependents first."""
        if self._ending.closing is not None:
            return
        self._ending.closing = reason
        for node in self._reversed():
            if node.state not in ACTIVE or not node.needed:
                self._cancel(node, reason)

    def lose(self, reason: str) -> None:
        """End every unit now, without commands: the containers are gone already."""
        self._ending.closing = reason
        self._attempts.active.clear()
        for node in self._reversed():
            if node.state is not State.FINISHED:
                self.finish(node, "cancelled", reason)

    def _cancel_all(self, nodes: Iterable[Node], reason: str) -> None:
        for node in nodes:
            self._cancel(node, reason)

    def _cancel(self, node: Node, reason: str) -> None:
        if node.state in ACTIVE:
            if node.stop_reason is None:
                self._attempts.stop(node, reason)
        elif node.attempt and reason == NOT_NEEDED and node.state is not State.FINISHED:
            self.finish(node, "unhealthy" if node.unhealthy else node.verdict, RESTARTING)
        elif node.state is not State.FINISHED:
            self.finish(node, "skipped" if reason == NOT_NEEDED else "cancelled", reason)


def _outcome(node: Node, verdict: VerdictName, because: str | None) -> Outcome:
    last = node.last
    exited = last if isinstance(last, Exited) else None
    bad = verdict not in ("ok", "skipped", "cancelled")
    # The restart policy grants the failure after which a service was about to be restarted.
    granted = because == RESTARTING and verdict != "unhealthy"
    allowed = bad and (granted or node.optional or is_allowed(node.unit, verdict, node.own_code()))
    return Outcome(
        unit=node.name,
        verdict=verdict,
        attempts=node.attempt,
        allowed=allowed,
        failed=bad and not allowed,
        because=because,
        code=exited.code if exited else None,
        signal=exited.signal if exited else None,
        duration_s=exited.duration_s if exited else None,
        evidence=exited.evidence if exited else {},
        error=last.error if isinstance(last, StartFailed) else None,
    )


def _means(node: Node, outcome: Outcome) -> Means:
    """Return what a unit's end means to those who require it."""
    if outcome.verdict == "ok" or is_allowed(node.unit, outcome.verdict, node.own_code()):
        return Means.PASSED
    if outcome.verdict == "skipped" and not node.broken:
        return Means.MOOT
    return Means.FAILED
