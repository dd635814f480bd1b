"""Progress: units and their graph, from waiting to the last word. Knows nothing of events."""

from __future__ import annotations

from collections import deque
from enum import Enum
from functools import partial

from gocker.scheduler import records
from gocker.scheduler.ending import ABORT, FAIL_FAST
from gocker.scheduler.messages import Exited, Outcome, StartFailed
from gocker.scheduler.node import ACTIVE, State, relink
from gocker.scheduler.verdict import is_allowed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gocker.plan.model import Condition, MatrixGroup
    from gocker.scheduler.attempts import Attempts
    from gocker.scheduler.ending import Ending
    from gocker.scheduler.messages import VerdictName
    from gocker.scheduler.node import Edges, Node
    from gocker.scheduler.readiness import Waits

    Edge = tuple[Node, Condition, bool]


NOT_NEEDED = "not_needed"
NO_FAILURE = "no_failure"
RESTARTING = "restarting"
NOT_STARTED = "not_started"
_COMPLETED = "service_completed_successfully"

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
        waits: Waits,
        *,
        detached: bool = False,
    ) -> None:
        self.unfinished = len(nodes)
        self.totals: dict[str, int] = {}
        self._nodes = nodes
        self._attempts = attempts
        self._ending = ending
        self._waits = waits
        # Services live until somebody stops them: nobody waits for the jobs' end.
        self._detached = detached
        self._jobs_left = sum(not node.is_support for node in nodes.values())
        self._fail_fast = False
        self._matrices: dict[str, list[Node]] = {}
        # Units whose dependents do not know yet that they ended; then what failures entail.
        self._ended: deque[tuple[Node, Means]] = deque()
        self._pending: deque[Callable[[], None]] = deque()
        self._queued: list[Node] = []

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
            self._detached = True  # services only: there is no end to wait for
        for node in self._nodes.values():
            if not node.unmet and node.state is State.WAITING:
                self._decide(node)

    def begin_not(self) -> None:
        """Note the units without running any of them."""
        for node in self._nodes.values():
            if node.state is State.WAITING:
                self.finish(node, "skipped", NOT_STARTED)

    def resume(self, node: Node, outcome: Outcome) -> None:
        """Note a unit that is over; all that follows from it has happened already."""
        node.state = State.FINISHED
        node.outcome = outcome
        node.verdict = outcome.verdict
        self.totals[outcome.verdict] = self.totals.get(outcome.verdict, 0) + 1
        self.unfinished -= 1
        self._jobs_left -= not node.is_support
        self._ending.resumed(node, outcome)

    def settle(self) -> None:
        """Work off all consequences and fill the free slots."""
        while True:
            if self._ended:
                self._propagate(*self._ended.popleft())
            elif self._pending:
                self._pending.popleft()()
            else:
                self._attempts.start_ready()
                break
        queued, self._queued = self._queued, []
        for node in queued:
            if node.state is State.READY:  # there is no slot for it now
                self._waits.changed(node)

    # Conditions -------------------------------------------------------------------------------

    def started(self, node: Node) -> None:
        """Fulfil ``service_started``, the first time."""
        if not node.started:
            node.started = True
            self._resolve(node, node.on_started, Means.PASSED)

    def health_known(self, node: Node, healthy: bool) -> None:
        """Fulfil ``service_healthy`` or break it, the first time."""
        node.healthy = healthy
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
            self._queued.append(node)

    # The end of a unit ------------------------------------------------------------------------

    def finish(self, node: Node, verdict: VerdictName, because: str | None) -> None:
        """Give the last word on a unit."""
        node.state = State.FINISHED
        node.then = None
        self._attempts.cancel_timers(node)
        outcome = node.outcome = _outcome(node, verdict, because)
        out = self._attempts.out
        if not node.tried:
            out.append(records.skipped(node, because or verdict))
        out.append(records.finished(node, outcome))
        self.totals[verdict] = self.totals.get(verdict, 0) + 1
        self.unfinished -= 1
        self._jobs_left -= not node.is_support
        self._ended.append((node, _means(node, outcome)))
        if outcome.failed:
            self._on_failure(node)
        self._waits.changed(node)
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
                    dependent.state is State.READY and not dependent.tried
                )
                if required and waits:
                    self._break(dependent, node, Means.FAILED)

    def _check_need(self, node: Node) -> None:
        """Stop what no unfinished dependent needs: support, or anything when the run closes."""
        if node.needed or node.state is State.FINISHED:
            return
        if self._ending.closing is not None:
            self.cancel(node, self._ending.closing)
        elif node.is_support and not self._detached:
            self.cancel(node, NOT_NEEDED)

    def _retire_sidecars(self) -> None:
        if self._detached:
            return
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
                self.cancel(node, reason)

    def lose(self, reason: str) -> None:
        """End every unit now, without commands: the containers are gone already."""
        self._ending.closing = reason
        self._attempts.active.clear()
        for node in self._reversed():
            if node.state is not State.FINISHED:
                self.finish(node, "cancelled", reason)

    def _cancel_all(self, nodes: Iterable[Node], reason: str) -> None:
        for node in nodes:
            self.cancel(node, reason)

    def cancel(self, node: Node, reason: str) -> None:
        """Let a unit end, as its state allows; nothing for one that is over."""
        if node.state in ACTIVE:
            if node.stop_reason is None:
                self._attempts.stop(node, reason)
        elif node.tried and reason == NOT_NEEDED and node.state is not State.FINISHED:
            self.finish(node, "unhealthy" if node.unhealthy else node.verdict, RESTARTING)
        elif node.state is not State.FINISHED:
            self.finish(node, "skipped" if reason == NOT_NEEDED else "cancelled", reason)

    # Beginning anew ---------------------------------------------------------------------------

    def add(self, node: Node) -> None:
        """Take a further unit, which waits for its conditions; `begin_anew` has to follow."""
        self._nodes[node.name] = node
        self.unfinished += 1
        self._jobs_left = max(0, self._jobs_left) + (not node.is_support)

    def again(self, node: Node) -> None:
        """Let a unit wait for its conditions anew, once all that is known now is worked off."""
        if node.state is State.FINISHED and node.outcome is not None:
            self._forget(node, node.outcome.verdict)
        node.begin(node.renewal or node.unit)
        self._waits.changed(node)
        self.begin_anew((node,))

    def _forget(self, node: Node, verdict: VerdictName) -> None:
        self.totals[verdict] -= 1
        if not self.totals[verdict]:
            del self.totals[verdict]
        self.unfinished += 1
        self._jobs_left = max(0, self._jobs_left) + (not node.is_support)

    def begin_anew(self, nodes: Iterable[Node]) -> None:
        """Decide on units that wait anew, after what is known now has been worked off."""
        self._pending.append(partial(self._recount, tuple(nodes)))

    def _recount(self, fresh: Iterable[Node]) -> None:
        """Count all edges as they are now; then decide on units that wait anew."""
        relink(self._nodes)
        for node in self._nodes.values():
            if node.state is State.FINISHED:
                for dependency in node.depends:
                    target = self._nodes.get(dependency.unit)
                    if target is not None and dependency.condition != _COMPLETED:
                        target.needed -= 1
            elif node.state is State.WAITING:
                node.unmet = sum(_settled(edge) is None for edge in self._edges(node))
        for node in [node for node in self._nodes.values() if node.state is State.WAITING]:
            self._decide_anew(node, warn=node in fresh)

    def _decide_anew(self, node: Node, *, warn: bool) -> None:
        if self._ending.closing is not None:
            self.cancel(node, self._ending.closing)
            return
        for target, condition, required in self._edges(node):
            means = _settled((target, condition, required))
            if means not in (None, Means.PASSED) and node.state is State.WAITING:
                if required:
                    self._break(node, target, means)
                elif warn:
                    self._attempts.out.append(records.not_required(node, target.name))
        if not node.unmet and node.state is State.WAITING:
            self._decide(node)

    def _edges(self, node: Node) -> Iterator[Edge]:
        for dependency in node.depends:
            target = self._nodes.get(dependency.unit)
            if target is not None:
                yield target, dependency.condition, dependency.required


def _settled(edge: Edge) -> Means | None:
    """Return what a condition has come to; None while it is open."""
    target, condition, _ = edge
    if target.then == "again":
        return None
    if condition == "service_started" and target.started:
        return Means.PASSED
    if condition == "service_healthy" and target.health_known:
        return Means.PASSED if target.healthy else Means.FAILED
    if target.state is State.FINISHED and target.outcome is not None:
        return _means(target, target.outcome)
    return None


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
