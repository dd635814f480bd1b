"""The machine of a run whose supervisor was killed: what its units are now. Pure."""

from __future__ import annotations

from gocker.scheduler.health import Health
from gocker.scheduler.messages import Outcome
from gocker.scheduler.node import State
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    from gocker.scheduler.attempts import Attempts
    from gocker.scheduler.messages import VerdictName
    from gocker.scheduler.node import Node
    from gocker.scheduler.progress import Progress

# Why a unit is over that died with its supervisor, or never began.
SUPERVISOR_LOST = "supervisor_lost"


@dataclass(frozen=True, slots=True)
class Resumed:
    """What is known of a unit.

    `state`: ``starting``, ``running``, ``paused``; ``over``: with `verdict`, `code` and `failed`;
    ``again``: its next attempt had not begun; ``lost``: it died, or never began. `health`:
    of what runs; None: it has no health check, or nobody knows yet.
    """

    state: Literal["starting", "running", "paused", "over", "again", "lost"]
    attempt: int = 0
    health: Literal["starting", "healthy", "unhealthy"] | None = None
    verdict: VerdictName = "ok"
    code: int | None = None
    failed: bool = False


def resume(
    nodes: Mapping[str, Node], found: Mapping[str, Resumed], attempts: Attempts,
    progress: Progress,
) -> None:  # fmt: skip
    """Put every unit into its state; what follows is worked off by the machine."""
    for node in nodes.values():
        known = found[node.name]
        node.attempt = known.attempt
        if known.state == "over":
            outcome = Outcome(node.name, known.verdict, known.attempt, failed=known.failed,
                              code=known.code)  # fmt: skip
            progress.resume(node, outcome)
        elif known.state in ("starting", "running", "paused"):
            attempts.resume(node)
            node.state = State.STARTING
            if known.state != "starting":
                _run_on(node, known, attempts)
    for node in reversed([*nodes.values()]):
        if found[node.name].state == "lost":
            progress.finish(node, "cancelled", SUPERVISOR_LOST)
    # Those that wait look at what all others have become.
    progress.begin_anew(())


def _run_on(node: Node, known: Resumed, attempts: Attempts) -> None:
    node.state = State.RUNNING
    node.started = True
    node.paused = known.state == "paused"
    if node.unit.health is None:
        # A line that said that it is ready was seen, or is not waited for any more.
        node.ready = True
        if node.unit.ready is not None:
            node.health_known = node.healthy = True
        return
    node.health = Health(node.unit.health, attempts.now)
    if known.health in ("healthy", "unhealthy"):
        node.health.status = known.health
        node.health_known = True
        node.healthy = node.ready = known.health == "healthy"
    if not node.paused:
        attempts.timers.set((node, "probe"), node.health.next_probe(attempts.now))
