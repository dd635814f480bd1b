"""An executor without containers: drives a machine with a made-up clock, and watches its rules.

Every run through it checks what must hold in all of them: see `Watch`.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gocker import events
from gocker.plan.model import Dependency, MatrixGroup, Plan, Unit
from gocker.scheduler.machine import Machine
from gocker.scheduler.messages import (
    REQUESTS,
    Adopt,
    Answer,
    Await,
    Command,
    Connect,
    Event,
    Exited,
    Finish,
    Freeze,
    Kill,
    LauncherLost,
    Options,
    Probe,
    ProbeDone,
    ReadyLine,
    Record,
    Result,
    Signal,
    Start,
    Started,
    StartFailed,
    Stop,
    Verdict,
)


@dataclass(frozen=True)
class Run:
    """How one attempt behaves. `stop_s` None: it ignores the stop signal."""

    duration: float = 1.0
    code: int | None = 0
    signal: int | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    start_s: float = 0.0
    error: Mapping[str, Any] | None = None
    stop_s: float | None = 0.0
    stop_code: int | None = None
    probes: tuple[int | None, ...] = (0,)
    probe_s: float = 0.0
    # Seconds from the request to the line that the unit's `ready.log` waits for.
    line_s: float | None = None


FOREVER = Run(duration=float("inf"))


def fails(code: int = 1, **arguments: Any) -> Run:
    return Run(code=code, **arguments)


def unit(name: str, *depends: str | Dependency, **fields: Any) -> Unit:
    """Make a unit; a plain name in `depends` must complete successfully."""
    edges = tuple(
        Dependency(d, "service_completed_successfully") if isinstance(d, str) else d
        for d in depends
    )
    fields.setdefault("service", name)
    return Unit(name=name, image="host:/", depends=edges, **fields)


def plan(*units: Unit, parallel: int = 8, **fields: Any) -> Plan:
    return Plan("p", {u.name: u for u in units}, parallel=parallel, **fields)


class Watch:
    """What must hold in every run, whatever the plan."""

    def __init__(self, plan: Plan, options: Options) -> None:
        self.plan = plan
        self.parallel = plan.parallel if options.parallel is None else options.parallel
        self.attempt: Counter[str] = Counter()
        self.alive: dict[str, int] = {}
        self.ended: set[tuple[str, int]] = set()
        self.judged: set[tuple[str, int]] = set()
        self.started: set[str] = set()
        self.health: defaultdict[str, set[str]] = defaultdict(set)
        self.finished: dict[str, Mapping[str, Any]] = {}
        # Units that somebody asked for: what they wait for is then checked by the tests.
        self.asked: set[str] = set()
        self.frozen: set[str] = set()
        self.waiting: set[int] = set()
        self.over = False

    def command(self, command: Command) -> None:
        assert not self.over, f"{command} after Finish"
        match command:
            case Start():
                self._start(command)
            case Stop() | Kill() | Probe() | Connect() | Signal():
                assert self.alive.get(command.unit) == command.attempt, command
                assert command.unit not in self.frozen or isinstance(command, Signal), command
            case Freeze():
                assert self.alive.get(command.unit) == command.attempt, command
                assert (command.unit in self.frozen) != command.frozen
                (self.frozen.add if command.frozen else self.frozen.discard)(command.unit)
            case Answer():
                self.waiting.remove(command.token)
            case Verdict():
                key = command.unit, command.attempt
                assert key in self.ended
                assert key not in self.judged
                self.judged.add(key)
            case Record():
                self._record(command)
            case Finish():
                assert self.waiting == set()
                assert set(self.finished) == set(self.plan.units)
                assert sum(command.totals.values()) == len(self.plan.units)
                self.over = True

    def _start(self, command: Start) -> None:
        name = command.unit
        assert name not in self.finished or name in self.asked
        self.finished.pop(name, None)
        assert name not in self.alive
        self.attempt[name] += 1
        assert command.attempt == self.attempt[name]
        unit = self.plan.units[name]
        if command.attempt == 1 and name not in self.asked:
            for dependency in unit.depends:
                hard = unit.when == "on_success" and dependency.required
                holds = self._holds(dependency)
                assert holds if hard else holds or self._settled(dependency), (name, dependency)
        self.alive[name] = command.attempt
        jobs = [self.plan.units[u] for u in self.alive if self.plan.units[u].role == "job"]
        assert self.parallel <= 0 or len(jobs) <= self.parallel
        for matrix, running in Counter(job.matrix for job in jobs if job.matrix).items():
            limit = self.plan.matrices.get(matrix, MatrixGroup()).max_parallel
            assert limit is None or running <= limit

    def _holds(self, dependency: Dependency) -> bool:
        name = dependency.unit
        finished = self.finished.get(name)
        passed = finished is not None and self._passed(name, finished)
        if dependency.condition == "service_started":
            return name in self.started or passed
        if dependency.condition == "service_healthy":
            return "healthy" in self.health[name] or passed
        return passed

    def _passed(self, name: str, finished: Mapping[str, Any]) -> bool:
        unit = self.plan.units[name]
        allows = unit.allow_failure or bool(unit.allow_failure_codes)
        return finished["verdict"] == "ok" or (finished["allowed"] and allows)

    def _settled(self, dependency: Dependency) -> bool:
        if (
            dependency.condition == "service_healthy"
            and "unhealthy" in self.health[dependency.unit]
        ):
            return True
        return dependency.unit in self.finished or dependency.unit not in self.plan.units

    def _record(self, record: Record) -> None:
        fields = dict(record.fields)
        if record.event.startswith("container."):
            fields["container.id"] = "c"
        events.check(record.event, fields)
        if record.event == "container.health":
            self.health[fields["instance"]].add(fields["status"])
        if record.event == "job.finished":
            name = fields["instance"]
            assert name not in self.finished or name in self.asked
            assert fields["attempts"] == self.attempt[fields["instance"]]
            self.finished[fields["instance"]] = fields

    def end(self, name: str, attempt: int) -> None:
        del self.alive[name]
        self.frozen.discard(name)
        self.ended.add((name, attempt))


class Simulator:
    """Runs a plan to its end. `runs`: a unit's attempts in order, the last one repeated."""

    def __init__(
        self,
        plan: Plan,
        runs: Mapping[str, Run | list[Run]] | Callable[[str, int], Run] | None = None,
        wait: bool = False,
        **options: Any,
    ) -> None:
        self._wait = wait
        self.options = Options(**options)
        self.machine = Machine(plan, self.options)
        self.watch = Watch(plan, self.options)
        self.now = 0.0
        self.log: list[tuple[float, Command]] = []
        self._behaviour = runs if callable(runs) else _by_name(runs or {})
        self._heap: list[tuple[float, int, Event]] = []
        self._sequence = 0
        self._probes: Counter[tuple[str, int]] = Counter()
        self._exiting: dict[str, float] = {}

    def at(self, when: float, event: Event) -> Simulator:
        self._sequence += 1
        heapq.heappush(self._heap, (when, self._sequence, event))
        return self

    def run(self) -> Result:
        self._obey(self.machine.begin(self.now))
        if self._wait:
            self.tell(Await(0, "ready", tuple(self.watch.plan.units)))
        for _ in range(200_000):
            if self.machine.done:
                assert self.machine.deadline() is None
                return self.machine.result()
            self._step()
        raise AssertionError("the run does not end")

    def _step(self) -> None:
        deadline = self.machine.deadline()
        due = self._heap[0][0] if self._heap else None
        assert deadline is not None or due is not None, "nothing can happen any more"
        if due is None or (deadline is not None and deadline <= due):
            assert deadline is not None
            self.now = max(self.now, deadline)
            self._obey(self.machine.tick(self.now))
            return
        self.now, _, event = heapq.heappop(self._heap)
        if self._happens(event):
            self.tell(event)

    def tell(self, event: Event) -> None:
        """Hand an event to the machine now."""
        match event:
            case Await():
                self.watch.waiting.add(event.token)
            case Adopt():
                units = self.watch.plan.units | event.plan.units
                self.watch.plan = replace(self.watch.plan, units=units)
                self.watch.asked |= set(event.plan.units) | event.remove
            case _ if isinstance(event, REQUESTS):
                self.watch.asked |= set(self.watch.plan.units)
        self._obey(self.machine.handle(event, self.now))

    def _happens(self, event: Event) -> bool:
        """Note what an event means; False if it was overtaken by another end of the container."""
        match event:
            case LauncherLost():
                for name, attempt in list(self.watch.alive.items()):
                    self.watch.end(name, attempt)
                self._heap.clear()
                return True
            case Started() | StartFailed() | Exited() | ProbeDone() | ReadyLine():
                if self.watch.alive.get(event.unit) != event.attempt:
                    return False
                if isinstance(event, Exited) and self._exiting.get(event.unit) != self.now:
                    return False
        match event:
            case Started():
                self.watch.started.add(event.unit)
            case StartFailed() | Exited():
                self.watch.end(event.unit, event.attempt)
        return True

    def _obey(self, commands: Iterable[Command]) -> None:
        for command in commands:
            self.log.append((self.now, command))
            self.watch.command(command)
            match command:
                case Start():
                    self._start(command)
                case Stop():
                    run = self._behaviour(command.unit, command.attempt)
                    if run.stop_s is not None:
                        how = {"code": run.stop_code} if run.stop_code is not None else {}
                        self._exit(command, run.stop_s, **(how or {"signal": command.signal}))
                case Kill():
                    self._exit(command, 0.0, signal=9)
                case Probe() | Connect():
                    run = self._behaviour(command.unit, command.attempt)
                    count = self._probes[command.unit, command.attempt]
                    self._probes[command.unit, command.attempt] += 1
                    code = run.probes[min(count, len(run.probes) - 1)]
                    done = ProbeDone(command.unit, command.attempt, code, "out")
                    self.at(self.now + run.probe_s, done)

    def _start(self, command: Start) -> None:
        run = self._behaviour(command.unit, command.attempt)
        ready = self.now + run.start_s
        self._exiting[command.unit] = float("inf")
        if run.error is not None:
            self.at(ready, StartFailed(command.unit, command.attempt, run.error))
            return
        self.at(ready, Started(command.unit, command.attempt))
        if run.line_s is not None:
            self.at(self.now + run.line_s, ReadyLine(command.unit, command.attempt, "up"))
        self._exit(command, run.start_s + run.duration, code=run.code, signal=run.signal)

    def _exit(self, command: Start | Stop | Kill, after: float, **how: Any) -> None:
        """Let the container end then, unless it ends before."""
        when = self.now + after
        if when >= self._exiting[command.unit]:
            return
        self._exiting[command.unit] = when
        run = self._behaviour(command.unit, command.attempt)
        if how.get("signal") is not None:
            how["code"] = None
        event = Exited(
            command.unit, command.attempt, evidence=run.evidence, duration_s=run.duration, **how
        )
        self.at(when, event)

    # What tests ask ---------------------------------------------------------------------------

    def commands(self, kind: type) -> list[Any]:
        return [command for _, command in self.log if isinstance(command, kind)]

    def times(self, kind: type, name: str) -> list[float]:
        return [when for when, c in self.log if isinstance(c, kind) and c.unit == name]

    def records(self, event: str) -> list[Mapping[str, Any]]:
        return [record.fields for record in self.commands(Record) if record.event == event]

    def order(self, kind: type) -> list[str]:
        return [command.unit for command in self.commands(kind)]


def _by_name(runs: Mapping[str, Run | list[Run]]) -> Callable[[str, int], Run]:
    def behaviour(name: str, attempt: int) -> Run:
        given = runs.get(name, Run())
        return given if isinstance(given, Run) else given[min(attempt, len(given)) - 1]

    return behaviour


def verdicts(result: Result) -> dict[str, str]:
    return {name: outcome.verdict for name, outcome in result.outcomes.items()}
