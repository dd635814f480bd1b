"""Attempts: the containers of units, from `Start` to their end, with their timers."""

from __future__ import annotations

import signal
from collections import deque

from gocker.scheduler import records
from gocker.scheduler.messages import Exited, Freeze, Hook, Kill, Start, Stop
from gocker.scheduler.node import State
from gocker.scheduler.slots import Slots
from gocker.scheduler.timers import Timers
from gocker.scheduler.verdict import (
    restart_delay,
    retry_delay,
    wants_restart,
    wants_retry,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from gocker.plan.model import MatrixGroup, Reservation
    from gocker.scheduler.messages import Command, HookDone, Next, StartFailed, VerdictName
    from gocker.scheduler.node import Node


class Attempts:
    """What is in flight. Knows nothing of the graph.

    `now` is the time of the event being handled, `out` the commands that answer it.
    """

    def __init__(
        self, parallel: int, matrices: Mapping[str, MatrixGroup], stop_grace_s: float | None,
        capacity: Reservation | None = None, *, detached: bool = False,
    ) -> None:  # fmt: skip
        self.now = 0.0
        self.out: list[Command] = []
        self.timers = Timers()
        # In the order of their starts.
        self.active: dict[Node, None] = {}
        self._services: deque[Node] = deque()
        self._slots = Slots(parallel, matrices, capacity)
        self._stop_grace = stop_grace_s
        self._detached = detached

    def start_ready(self) -> None:
        """Start the support services that are ready, and the ready jobs that have a slot."""
        while self._services:
            node = self._services.popleft()
            if node.state is State.READY:
                self._slots.hold(node)
                self._start(node)
        while (job := self._slots.take()) is not None:
            self._start(job)

    def enqueue(self, node: Node) -> None:
        """Let the next attempt start: a support service at once, a job when it has a slot."""
        node.state = State.READY
        if node.is_support:
            self._services.append(node)
        else:
            self._slots.offer(node)

    def _start(self, node: Node) -> None:
        node.attempt += 1
        node.state = State.STARTING
        node.oom_kills = 0
        node.line = None
        node.stop_reason = None
        node.killed = False
        node.paused = False
        self.active[node] = None
        # Set again when it has started: a start that hangs is ended too.
        if node.unit.timeout_s is not None:
            self.timers.set((node, "life"), self.now + node.unit.timeout_s)
        self.out.append(Start(node.name, node.attempt))

    def resume(self, node: Node) -> None:
        """Note an attempt that runs already."""
        self.active[node] = None
        if node.is_support:
            self._slots.hold(node)
        else:
            self._slots.resume(node)
        if node.unit.timeout_s is not None:
            self.timers.set((node, "life"), self.now + node.unit.timeout_s)

    def leave(self, node: Node, last: Exited | StartFailed, verdict: VerdictName) -> None:
        """Note that an attempt is over."""
        node.last = last
        node.verdict = verdict
        del self.active[node]
        self.cancel_timers(node)
        if node.is_support:
            self._slots.let_go(node)
        else:
            self._slots.release(node)

    def following(self, node: Node, lived_s: float) -> tuple[Next, float]:
        """Return what follows an attempt that is over, and after how many seconds.

        Counts it as a retry or a restart.
        """
        unit, verdict = node.unit, node.verdict
        if wants_retry(unit, verdict, node.own_code(), node.retries):
            node.retries += 1
            return "retry", retry_delay(unit, node.retries)
        # As dockerd: what was stopped, or never ran, is not restarted.
        window_s = unit.restart.window_s
        if window_s and lived_s >= window_s:
            node.restarts = 0
        ended_by_itself = isinstance(node.last, Exited) and node.stop_reason is None
        if ended_by_itself and wants_restart(unit, verdict, node.restarts, detached=self._detached):
            node.restarts += 1
            node.restart_delay = restart_delay(unit.restart, node.restart_delay, lived_s)
            return "restart", node.restart_delay
        return "done", 0.0

    def stop(self, node: Node, reason: str) -> None:
        """Ask an active unit to end; a kill follows after its grace period."""
        node.stop_reason = reason
        self.cancel_timers(node)
        if node.state is State.RUNNING:
            self.send_stop(node, reason)
        else:
            self._set_grace(node)

    def send_stop(self, node: Node, reason: str) -> None:
        """Send the stop signal to a running unit."""
        signum = node.unit.stop_signal
        node.state = State.STOPPING
        self.thaw(node)
        self.out.append(records.stopping(node, signum, reason))
        if node.unit.pre_stop:
            # Their time is the grace period's: who hangs in one is killed as who ignores a signal.
            self.out.append(Hook(node.name, node.attempt, "pre_stop", 0))
        else:
            self.out.append(Stop(node.name, node.attempt, signum, reason))
        self._set_grace(node)

    def next_hook(self, node: Node, event: HookDone) -> None:
        """Go on after a program of ``pre_stop``, however it ended: the unit is to end."""
        if event.number + 1 < node.unit.pre_stop:
            self.out.append(Hook(node.name, node.attempt, "pre_stop", event.number + 1))
        else:
            reason = node.stop_reason or ""
            self.out.append(Stop(node.name, node.attempt, node.unit.stop_signal, reason))

    def delay(self, node: Node, seconds: float) -> None:
        """Let another attempt follow."""
        if seconds <= 0:
            self.enqueue(node)
            return
        node.state = State.BACKOFF
        self.timers.set((node, "life"), self.now + seconds)

    def _set_grace(self, node: Node) -> None:
        grace = self._stop_grace if node.grace_s is None else node.grace_s
        seconds = node.unit.stop_grace_s if grace is None else grace
        self.timers.set((node, "life"), self.now + seconds)

    def kill(self, node: Node, reason: str) -> None:
        """Kill an active unit at once, once; `reason` unless it is being stopped for another."""
        if node.killed:
            return
        node.killed = True
        node.stop_reason = node.stop_reason or reason
        self.cancel_timers(node)
        self.thaw(node)
        self.out.append(records.stopping(node, signal.SIGKILL, node.stop_reason))
        self.out.append(Kill(node.name, node.attempt))

    def pause(self, node: Node) -> None:
        """Freeze a running unit. Its time goes on, its probes do not."""
        node.paused = True
        self.timers.cancel((node, "probe"))
        self.out.append(Freeze(node.name, node.attempt, frozen=True))
        self.out.append(records.paused(node))

    def thaw(self, node: Node) -> None:
        """Let the processes of a paused unit go on, also to take a signal."""
        if not node.paused:
            return
        node.paused = False
        self.out.append(Freeze(node.name, node.attempt, frozen=False))
        self.out.append(records.unpaused(node))
        if node.health is not None and node.state is State.RUNNING:
            self.timers.set((node, "probe"), node.health.next_probe(self.now))

    def adopt(self, matrices: Mapping[str, MatrixGroup]) -> None:
        """Count the units of further matrices."""
        self._slots.adopt(matrices)

    def cancel_timers(self, node: Node) -> None:
        """Forget a unit's timers."""
        self.timers.cancel((node, "life"))
        self.timers.cancel((node, "probe"))
