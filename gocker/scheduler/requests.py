"""What users ask of a living run: stop, start, restart, kill, pause, another plan.

Pure, as everything of the machine's: it marks units and lets `Progress` and `Attempts` act.
"""

from __future__ import annotations

import signal

from gocker.scheduler.ending import DOWN, KILLED, STOPPED
from gocker.scheduler.messages import (
    Adopt,
    Await,
    BringDown,
    PauseUnits,
    RestartUnits,
    Signal,
    SignalUnits,
    StartUnits,
    StopUnits,
)
from gocker.scheduler.node import ACTIVE, Node, State
from gocker.scheduler.progress import NOT_STARTED
from gocker.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Literal

    from gocker.plan.model import Dependency
    from gocker.scheduler.attempts import Attempts
    from gocker.scheduler.ending import Ending
    from gocker.scheduler.messages import Request
    from gocker.scheduler.progress import Progress
    from gocker.scheduler.readiness import Waits


_COMPLETED = "service_completed_successfully"


class Requests:
    """Carries out what users ask for."""

    def __init__(
        self, nodes: dict[str, Node], attempts: Attempts, progress: Progress, ending: Ending,
        waits: Waits,
    ) -> None:  # fmt: skip
        self._nodes = nodes
        self._attempts = attempts
        self._progress = progress
        self._ending = ending
        self._waits = waits
        # Units to be stopped as soon as none of these depends on them.
        self._leaving: dict[Node, None] = {}

    def handle(self, request: Request) -> None:
        """Take one request. In a run that is closing, nothing but waiting has an effect."""
        if isinstance(request, Await):
            self._waits.open(request, self._named((*request.units, *request.gone)))
        elif self._ending.closing is None:
            self._take(request)

    def _take(self, request: Request) -> None:
        match request:
            case StopUnits():
                self._end(self._named(request.units), "over", request.timeout_s)
            case RestartUnits():
                nodes = self._named(request.units)
                if request.dependents:
                    nodes = self._with_restarted(nodes)
                self._end(nodes, "again", request.timeout_s)
            case StartUnits():
                self._start(self._with_needed(self._named(request.units)))
            case SignalUnits():
                for node in self._named(request.units):
                    self._signal(node, request.signal)
            case PauseUnits():
                for node in self._named(request.units):
                    if node.state is State.RUNNING and node.paused != request.paused:
                        (self._attempts.pause if request.paused else self._attempts.thaw)(node)
            case BringDown():
                self._bring_down(request.timeout_s)
            case Adopt():
                self._adopt(request)

    def advance(self) -> None:
        """Stop the units whose turn has come."""
        if self._ending.closing is not None:
            self._leaving.clear()
        for node in [node for node in self._leaving if not node.leaving]:
            del self._leaving[node]
        for node in self._leaving:
            waits = any(other in self._leaving for other in _dependents(node))
            if not waits and node.stop_reason is None:
                self._progress.cancel(node, STOPPED)

    def _named(self, names: Iterable[str]) -> list[Node]:
        return [self._nodes[name] for name in names]

    # Ending -----------------------------------------------------------------------------------

    def _end(
        self, nodes: Iterable[Node], then: Literal["over", "again"], timeout_s: float | None
    ) -> None:
        for node in nodes:
            if node.state in ACTIVE:
                self._leave(node, then, timeout_s)
            elif then == "again":
                self._progress.again(node)
            else:
                self._progress.cancel(node, STOPPED)
        # Who waits for a unit that begins anew waits for its new life.
        self._progress.begin_anew(())
        self.advance()

    def _leave(self, node: Node, then: Literal["over", "again"], timeout_s: float | None) -> None:
        node.then = then
        node.grace_s = timeout_s
        self._leaving[node] = None
        if node.stop_reason is not None and node.state is State.STOPPING and timeout_s is not None:
            self._attempts.timers.set((node, "life"), self._attempts.now + timeout_s)

    def _signal(self, node: Node, number: int) -> None:
        ends = number in (signal.SIGKILL, node.unit.stop_signal)
        if node.state not in ACTIVE:
            if ends and node.state is State.BACKOFF:
                self._progress.cancel(node, KILLED)
            return
        if ends and node.then is None:
            node.then = "over"
        if number == signal.SIGKILL:
            self._attempts.kill(node, KILLED)
        elif node.state is not State.STARTING:
            self._attempts.out.append(Signal(node.name, node.attempt, number))

    def _bring_down(self, timeout_s: float | None) -> None:
        for node in self._nodes.values():
            if node.state is not State.FINISHED:
                node.then = None
                node.grace_s = timeout_s
        self._progress.close(DOWN)

    # Beginning --------------------------------------------------------------------------------

    def _start(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            if node.state is State.FINISHED:
                self._progress.again(node)
            elif node.leaving:
                node.then = "again"
        self._progress.begin_anew(())

    def _with_needed(self, nodes: Iterable[Node]) -> list[Node]:
        """Return units with those that they need and that do not run, needed ones first."""
        found: dict[Node, None] = {}

        def add(node: Node) -> None:
            for dependency in node.depends:
                target = self._nodes.get(dependency.unit)
                if target is not None and target not in found and not _serves(target, dependency):
                    add(target)
            found[node] = None

        for node in nodes:
            add(node)
        return list(found)

    def _with_restarted(self, nodes: Iterable[Node]) -> list[Node]:
        """Return units with those whose `depends_on` says that they restart with them."""
        found = dict.fromkeys(nodes)
        for node in self._nodes.values():  # dependents come later
            if node.state is not State.FINISHED and any(
                dependency.restart and self._nodes.get(dependency.unit) in found
                for dependency in node.unit.depends
            ):
                found[node] = None
        return list(found)

    # Another plan -----------------------------------------------------------------------------

    def _adopt(self, request: Adopt) -> None:
        plan = request.plan
        self._attempts.adopt(plan.matrices)
        new = [Node(unit) for name, unit in plan.units.items() if name not in self._nodes]
        for node in new:
            self._progress.add(node)
        self._end(self._named(request.remove), "over", request.timeout_s)
        for node in self._named(plan.units):
            if node.state is not State.FINISHED:
                # Edges may differ; role and matrix decide on slots that it holds.
                node.unit = replace(node.unit, depends=plan.units[node.name].depends)
        anew = [node for node in self._named(plan.units) if node.name in request.renew]
        for node in anew:
            node.renewal = plan.units[node.name]
        runs = [node for node in anew if node.state is not State.FINISHED]
        starts = set(request.start)
        over = [
            node for node in self._named(plan.units)
            if node.state is State.FINISHED and node.name in starts
            and (node.renewal is not None or not _is_done(node))
        ]  # fmt: skip
        for node in self._named(starts):
            if node.leaving:
                node.then = "again"
        self._order(plan.units)
        self._end([*runs, *over], "again", request.timeout_s)
        for node in new:
            if node.name not in starts:
                self._progress.finish(node, "skipped", NOT_STARTED)
        self._progress.begin_anew(new)

    def _order(self, names: Iterable[str]) -> None:
        """Put the nodes into an order in which dependents come later."""
        ordered: dict[str, Node] = {}

        def add(name: str) -> None:
            node = self._nodes.get(name)
            if node is None or name in ordered:
                return
            for dependency in node.depends:
                add(dependency.unit)
            ordered[name] = node

        for name in (*self._nodes, *names):
            add(name)
        self._nodes.clear()
        self._nodes.update(ordered)


def _dependents(node: Node) -> Iterator[Node]:
    for edges in (node.on_started, node.on_healthy):
        for dependent, _ in edges:
            yield dependent


def _serves(node: Node, dependency: Dependency) -> bool:
    """Return whether a unit is what its dependent needs, or will be without being started."""
    if node.state is not State.FINISHED:
        return not node.leaving
    return dependency.condition == _COMPLETED and _is_done(node)


def _is_done(node: Node) -> bool:
    """Return whether a unit has done what it is for, so that to do it again changes nothing.

    It ended well, by itself, and nobody needs it running.
    """
    outcome = node.outcome
    serves = node.on_started or node.on_healthy
    return (
        outcome is not None and outcome.verdict == "ok" and node.stop_reason is None
        and not serves
    )  # fmt: skip
