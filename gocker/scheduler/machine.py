"""The scheduler's state machine: events in, commands out, the time an argument.

No clock, socket, thread or I/O. Every event costs a constant, plus a constant for each edge of a
unit that starts, turns healthy or ends; all units are looked at only when the run begins, when it
ends and when everything is cancelled. States, rules and decisions: docs/scheduler.md.
"""

from __future__ import annotations

from gocker.scheduler import records
from gocker.scheduler.attempts import Attempts
from gocker.scheduler.ending import INTERRUPTED, LAUNCHER_LOST, STOPPED, Ending
from gocker.scheduler.health import Health
from gocker.scheduler.messages import (
    REQUESTS,
    Adopt,
    Connect,
    Exited,
    Finish,
    Hook,
    HookDone,
    Interrupted,
    LauncherLost,
    Oom,
    Options,
    Probe,
    ProbeDone,
    ReadyLine,
    Result,
    Started,
    StartFailed,
    Verdict,
)
from gocker.scheduler.node import ACTIVE, State, link
from gocker.scheduler.progress import Progress
from gocker.scheduler.readiness import Waits
from gocker.scheduler.requests import Requests
from gocker.scheduler.verdict import POST_START, RUN_TIMEOUT, TIMEOUT, fail_on, judge, oom_kills_of

# Seconds between two attempts to connect to a port that does not accept yet.
CONNECT_INTERVAL_S = 0.1

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from gocker.plan.model import Plan
    from gocker.scheduler.messages import Command, Event, Next, Request, VerdictName
    from gocker.scheduler.node import Node
    from gocker.scheduler.resume import Resumed


_START_FAILED: dict[str | None, VerdictName] = {None: "start_failed", TIMEOUT: "timeout"}


class Machine:
    """One run of a plan.

    Raises:
        PlanError: the plan's graph is not sound (see `node.link`).
        UsageError: `options.exit_code_from` names nothing in the plan.
    """

    def __init__(self, plan: Plan, options: Options | None = None) -> None:
        options = options or Options()
        self._nodes = link(plan)
        parallel = plan.parallel if options.parallel is None else options.parallel
        self._attempts = Attempts(
            parallel, plan.matrices, options.stop_grace_s, plan.capacity, detached=options.detached
        )
        self._timers = self._attempts.timers
        self._ending = Ending(options, self._nodes)
        self._waits = Waits(lambda: self._attempts.out)
        self._progress = Progress(
            self._nodes, self._attempts, self._ending, self._waits, detached=options.detached
        )
        self._requests = Requests(
            self._nodes, self._attempts, self._progress, self._ending, self._waits
        )
        fail_fast = plan.fail_fast if options.fail_fast is None else options.fail_fast
        self._progress.fail_fast(fail_fast, plan.matrices)
        self._max_time = plan.timeout_s if options.max_time_s is None else options.max_time_s
        self._start = options.start
        self._detached = options.detached
        self._interrupts = 0
        self._result: Result | None = None

    @property
    def done(self) -> bool:
        """Whether `Finish` was given; every later event is ignored."""
        return self._result is not None

    @property
    def closing(self) -> bool:
        """Whether the run is being ended: requests have no effect any more."""
        return self._ending.closing is not None or self.done

    def nodes(self) -> Mapping[str, Node]:
        """Return the units by name, to look at."""
        return self._nodes

    def begin(self, now: float) -> list[Command]:
        """Start what waits for nothing. Call it once, first."""
        self._attempts.now = now
        if self._max_time is not None:
            self._timers.set((None, "run"), now + self._max_time)
        if self._start:
            self._progress.begin()
        else:
            self._progress.begin_not()
        return self._settle()

    def resume(self, found: Mapping[str, Resumed], now: float) -> list[Command]:
        """Go on with a run whose supervisor was killed, in the place of `begin`."""
        from gocker.scheduler.resume import resume

        self._attempts.now = now
        resume(self._nodes, found, self._attempts, self._progress)
        return self._settle()

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event; return what to do, in this order."""
        if self.done:
            return []
        self._attempts.now = now
        if isinstance(event, Interrupted):
            self._on_interrupted(event)
        elif isinstance(event, LauncherLost):
            self._ending.error = event.error
            self._progress.lose(LAUNCHER_LOST)
        elif isinstance(event, REQUESTS):
            self._request(event)
        else:
            node = self._nodes[event.unit]
            if node.attempt != event.attempt or node.state not in ACTIVE:
                return []
            match event:
                case Started():
                    self._on_started(node)
                case Exited():
                    self._on_exited(node, event)
                case StartFailed():
                    self._on_ended(node, event, _START_FAILED.get(node.stop_reason, "cancelled"))
                case ProbeDone():
                    self._on_probe_done(node, event)
                case HookDone():
                    self._on_hook_done(node, event)
                case ReadyLine():
                    node.line = event.line
                    if node.state is State.RUNNING:
                        self._become_ready(node)
                case Oom():
                    node.oom_kills = max(node.oom_kills, event.oom_kills)
            self._waits.changed(node)
        return self._settle()

    def _request(self, request: Request) -> None:
        if isinstance(request, Adopt):
            link(request.plan)  # it is sound, or nothing changes
        self._requests.handle(request)

    def deadline(self) -> float | None:
        """Return when `tick` has something to do, or None."""
        return None if self.done else self._timers.deadline()

    def tick(self, now: float) -> list[Command]:
        """Take every timer that is due."""
        if self.done:
            return []
        self._attempts.now = now
        while (timer := self._timers.pop_due(now)) is not None:
            self._on_timer(*timer)
        return self._settle()

    def result(self) -> Result:
        """Return how the run ended. Only when `done`."""
        assert self._result is not None, "the run is not over"  # noqa: S101  # the caller's bug
        return self._result

    def _on_started(self, node: Node) -> None:
        attempts, now = self._attempts, self._attempts.now
        node.state = State.RUNNING
        if node.stop_reason is not None:
            if not node.killed:
                attempts.send_stop(node, node.stop_reason)
            return
        if node.unit.timeout_s is not None:
            self._timers.set((node, "life"), now + node.unit.timeout_s)
        if node.unit.ready is not None:
            attempts.out.append(records.ready(node, "starting", ""))
            if node.unit.ready.port is not None:
                self._timers.set((node, "probe"), now)
        elif node.unit.health is not None:
            node.health = Health(node.unit.health, now)
            attempts.out.append(records.health(node, node.health, ""))
            self._timers.set((node, "probe"), node.health.next_probe(now))
        if node.unit.post_start:
            attempts.out.append(Hook(node.name, node.attempt, "post_start", 0))
        else:
            self._has_started(node)

    def _has_started(self, node: Node) -> None:
        """The program runs, and what is to follow its start is done."""
        if node.unit.ready is None and node.unit.health is None:
            node.ready = True
        self._progress.started(node)
        if node.line is not None:
            self._become_ready(node)

    def _on_hook_done(self, node: Node, event: HookDone) -> None:
        attempts = self._attempts
        attempts.out.append(records.hook(node, event))
        if event.kind == "pre_stop":
            if node.state is State.STOPPING and not node.killed:
                attempts.next_hook(node, event)
        elif node.state is not State.RUNNING or node.stop_reason is not None:
            pass  # it is being ended meanwhile
        elif event.exit_code:
            attempts.stop(node, POST_START)
        elif event.number + 1 < node.unit.post_start:
            attempts.out.append(Hook(node.name, node.attempt, "post_start", event.number + 1))
        else:
            self._has_started(node)

    def _become_ready(self, node: Node) -> None:
        """A unit without healthcheck is what its dependents wait for."""
        attempts = self._attempts
        attempts.out.append(records.ready(node, "healthy", node.line or ""))
        node.ready = True
        self._progress.health_known(node, healthy=True)

    def _on_exited(self, node: Node, event: Exited) -> None:
        if node.leaving and node.stop_reason is None:
            node.stop_reason = STOPPED  # before its turn came: it was asked to all the same
        verdict = judge(node.unit, event, node.stop_reason, node.oom_kills)
        if verdict == "ok" and node.unit.fail_on:
            failure = fail_on(node.unit, event, node.oom_kills)
            if failure is not None:
                verdict, what = failure
                self._attempts.out.append(records.failed_on(node, what))
        self._on_ended(node, event, verdict)

    def _on_ended(self, node: Node, event: Exited | StartFailed, verdict: VerdictName) -> None:
        """An attempt is over: another one follows, or it is the unit's end."""
        attempts = self._attempts
        attempts.leave(node, event, verdict)
        lived_s = event.duration_s if isinstance(event, Exited) else 0.0
        following: Next = "done"
        delay = 0.0
        if self._ending.closing is None and node.then == "again":
            attempts.out.append(Verdict(node.name, node.attempt, verdict, "restart"))
            self._progress.again(node)
            return
        if self._ending.closing is None and node.then is None:
            following, delay = attempts.following(node, lived_s)
        if following != "done":
            attempts.out.append(Verdict(node.name, node.attempt, verdict, following))
            attempts.out.append(records.retry(node, verdict, delay))
            attempts.delay(node, delay)
            return
        if verdict == "ok" and (node.unhealthy or node.fails_waiting()):
            verdict = "unhealthy"
        attempts.out.append(Verdict(node.name, node.attempt, verdict, "done"))
        if verdict == "ok" and node.stop_reason is None:
            self._remark(node, event)
        self._progress.finish(node, verdict, node.stop_reason)

    def _remark(self, node: Node, event: Exited | StartFailed) -> None:
        """Warn of what is no failure and may not be meant."""
        kills = oom_kills_of(event) if isinstance(event, Exited) else 0
        if kills := max(kills, node.oom_kills):
            self._attempts.out.append(records.survived_oom(node, kills))
        serves = node.on_started or node.on_healthy
        if node.is_support and not node.on_completed and (serves or not self._detached):
            self._attempts.out.append(records.support_ended(node))

    def _on_probe_done(self, node: Node, event: ProbeDone) -> None:
        health, attempts = node.health, self._attempts
        if node.unit.ready is not None and node.state is State.RUNNING and not node.killed:
            self._on_connected(node, event)
        if health is None or node.state is not State.RUNNING or node.killed:
            return
        changed = health.result(event.exit_code)
        self._timers.set((node, "probe"), health.next_probe(attempts.now))
        if changed:
            healthy = health.status == "healthy"
            attempts.out.append(records.health(node, health, event.output, event.exit_code))
            node.ready = node.ready or healthy
            self._progress.health_known(node, healthy)

    def _on_connected(self, node: Node, event: ProbeDone) -> None:
        if event.exit_code == 0:
            node.line = event.output
            self._become_ready(node)
        else:
            self._timers.set((node, "probe"), self._attempts.now + CONNECT_INTERVAL_S)

    def _on_interrupted(self, event: Interrupted) -> None:
        self._interrupts += 1
        self._attempts.out.append(records.interrupted(event.signal))
        if self._interrupts > 1:
            for node in self._attempts.active:
                self._attempts.kill(node, INTERRUPTED)
        elif self._ending.closing is None:
            self._ending.signal = event.signal
            self._progress.close(INTERRUPTED)

    def _on_timer(self, node: Node | None, kind: str) -> None:
        attempts = self._attempts
        if node is None:
            self._progress.close(RUN_TIMEOUT)
        elif kind == "probe" and node.unit.ready is not None:
            port = node.unit.ready.port or 0
            attempts.out.append(Connect(node.name, node.attempt, port))
        elif kind == "probe" and node.health is not None:
            node.health.probe(attempts.now)
            attempts.out.append(Probe(node.name, node.attempt, node.health.check))
        elif node.state is State.BACKOFF:
            attempts.enqueue(node)
        elif node.state is State.RUNNING:
            attempts.stop(node, TIMEOUT)
        else:
            attempts.kill(node, TIMEOUT)

    def _settle(self) -> list[Command]:
        self._progress.settle()
        self._requests.advance()
        attempts, ending = self._attempts, self._ending
        if not self._progress.unfinished and not self.done:
            exit_code, reason = ending.decide()
            totals = self._progress.totals
            outcomes = {n.name: n.outcome for n in self._nodes.values() if n.outcome is not None}
            self._result = Result(exit_code, reason, totals, outcomes, ending.error)
            attempts.out.append(Finish(exit_code, reason, totals, ending.error))
        commands, attempts.out = attempts.out, []
        return commands
