"""A unit while a run lasts: its state, its counters and its place in the graph."""

from __future__ import annotations

from collections import defaultdict
from enum import Enum

from gocker.errors import PlanError
from gocker.scheduler.messages import Exited, shell_code

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from gocker.plan.model import Condition, Dependency, Plan, Unit
    from gocker.scheduler.health import Health
    from gocker.scheduler.messages import Outcome, StartFailed, VerdictName


State = Enum("State", "WAITING READY STARTING RUNNING STOPPING BACKOFF FINISHED")
ACTIVE = frozenset({State.STARTING, State.RUNNING, State.STOPPING})

Edges = tuple[tuple["Node", bool], ...]


class Node:
    """The mutable side of a unit. Only the machine and the slots change it.

    `on_started`, `on_healthy` and `on_completed` are the dependents by condition, each with
    whether it requires this unit.
    """

    __slots__ = (
        "attempt", "before", "broken", "grace_s", "health", "health_known", "healthy", "killed",
        "last", "line", "moot", "needed", "on_completed", "on_healthy", "on_started", "oom_kills",
        "optional", "outcome", "paused", "ready", "renewal", "restart_delay", "restarts",
        "retries", "root", "started", "state", "stop_reason", "then", "unhealthy", "unit",
        "unmet", "verdict",
    )  # fmt: skip

    def __init__(self, unit: Unit) -> None:
        self.attempt = 0
        self.on_started: Edges = ()
        self.on_healthy: Edges = ()
        self.on_completed: Edges = ()
        # There are dependents, and all of them say ``required: false``.
        self.optional = False
        # Dependents: how many unfinished ones need this unit running.
        self.needed = 0
        # What the unit becomes when it begins anew.
        self.renewal: Unit | None = None
        self.begin(unit)

    def begin(self, unit: Unit) -> None:
        """Forget what was: the unit waits for its conditions, as at the beginning of a run."""
        self.unit = unit
        self.renewal = None
        # Attempts of earlier lives: their numbers are not used again.
        self.before = self.attempt
        self.state = State.WAITING
        # Dependencies: how many are open, whether a failure broke one, the unit that did not run
        # although nothing failed.
        self.unmet = 0
        self.broken = False
        self.moot: str | None = None
        # The dependents' conditions are settled: it started once; it was healthy or unhealthy.
        self.started = False
        self.health_known = False
        self.healthy = False
        # A required dependent waited for its health in vain.
        self.unhealthy = False
        # The current attempt. `grace_s`: instead of the unit's own, if a user said so.
        self.grace_s: float | None = None
        self.paused = False
        self.health: Health | None = None
        # The line that says that it is ready, when it came before the start was reported.
        self.line: str | None = None
        self.oom_kills = 0
        self.stop_reason: str | None = None
        self.killed = False
        # A user wants it to end: for good, or to begin anew then.
        self.then: Literal["over", "again"] | None = None
        # The last attempt's end.
        self.last: Exited | StartFailed | None = None
        self.verdict: VerdictName = "skipped"
        # Across attempts.
        self.retries = 0
        self.restarts = 0
        self.restart_delay = 0.0
        # What `--wait` waits for is there.
        self.ready = False
        self.outcome: Outcome | None = None
        # The unit whose failure explains this one's.
        self.root = unit.name

    @property
    def leaving(self) -> bool:
        """Whether a user wants the current attempt to end."""
        return self.then is not None

    @property
    def tried(self) -> bool:
        """Whether it was attempted since it began."""
        return self.attempt > self.before

    @property
    def depends(self) -> tuple[Dependency, ...]:
        """Return what it depends on, or will when it begins anew."""
        return (self.renewal or self.unit).depends

    @property
    def name(self) -> str:
        """The unit's name."""
        return self.unit.name

    @property
    def is_support(self) -> bool:
        """Whether its forced stop is no failure."""
        return self.unit.role == "support"

    @property
    def has_health(self) -> bool:
        """Whether it can be waited for to be healthy."""
        return self.unit.health is not None or self.unit.ready is not None

    @property
    def is_sidecar(self) -> bool:
        """Whether it serves the whole run: support that nobody needs in particular."""
        return self.is_support and not self.on_started and not self.on_healthy

    def own_code(self) -> int | None:
        """Return the shell's code of the last attempt if it ended by itself."""
        if isinstance(self.last, Exited) and self.stop_reason is None:
            return shell_code(self.last.code, self.last.signal)
        return None

    def fails_waiting(self) -> bool:
        """Return whether a dependent still waits for its health and requires it."""
        return not self.health_known and any(
            required and node.state is State.WAITING for node, required in self.on_healthy
        )


def link(plan: Plan) -> dict[str, Node]:
    """Return the plan's units as nodes, by name and in the plan's order.

    An edge with ``required: false`` to a unit that is not in the plan is dropped: a profile
    switched it off.

    Raises:
        PlanError: a required unit is missing, has no healthcheck to wait for, or comes later in
            the plan (so there is no cycle either, and every run comes to its end).
    """
    nodes: dict[str, Node] = {}
    for unit in plan.units.values():
        node = Node(unit)
        for dependency in unit.depends:
            name, condition = dependency.unit, dependency.condition
            target = nodes.get(name)
            if target is None:
                if name in plan.units:
                    raise PlanError(f"{unit.name!r} comes before {name!r}, on which it depends")
                if dependency.required:
                    raise PlanError(f"{unit.name!r} depends on {name!r}, which is not in the plan")
            elif condition == "service_healthy" and not target.has_health:
                raise PlanError(
                    f"{unit.name!r} waits for {name!r} to be healthy, which has no healthcheck"
                )
        nodes[unit.name] = node
    relink(nodes)
    return nodes


def relink(nodes: dict[str, Node]) -> None:
    """Give each node its dependents; count what none has settled and who is needed.

    Nothing may have begun, or `Progress.recount` has to follow.
    """
    edges: defaultdict[tuple[str, Condition], list[tuple[Node, bool]]] = defaultdict(list)
    wanted: set[str] = set()
    for node in nodes.values():
        required_edge, optional_edge = (node, True), (node, False)
        node.unmet = 0
        node.needed = 0
        for dependency in node.depends:
            name, condition = dependency.unit, dependency.condition
            target = nodes.get(name)
            if target is None:
                continue
            edges[name, condition].append(required_edge if dependency.required else optional_edge)
            node.unmet += 1
            if dependency.required:
                wanted.add(name)
            # Whoever waits for the end of a unit does not need it running.
            if condition != "service_completed_successfully":
                target.needed += 1
    for name, node in nodes.items():
        node.on_started = tuple(edges.get((name, "service_started"), ()))
        node.on_healthy = tuple(edges.get((name, "service_healthy"), ()))
        node.on_completed = tuple(edges.get((name, "service_completed_successfully"), ()))
        depended = bool(node.on_started or node.on_healthy or node.on_completed)
        node.optional = depended and name not in wanted
