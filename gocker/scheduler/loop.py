"""The I/O loop: carries out the machine's commands and tells it what happened.

Driven by events only: the launcher's socket, the containers' pipes, signals, and the machine's
own deadline. Every decision is the machine's.
"""

from __future__ import annotations

import gc
import selectors
import time
from collections import deque
from functools import partial

from gocker.errors import GockerError, HostError, unforeseen
from gocker.scheduler import signals
from gocker.scheduler.attempt import Attempt
from gocker.scheduler.chronicle import Chronicle
from gocker.scheduler.inflight import InFlight
from gocker.scheduler.launcher import lost
from gocker.scheduler.links import Link, Links
from gocker.scheduler.messages import (
    Answer,
    Connect,
    Exited,
    Finish,
    Freeze,
    Hook,
    Interrupted,
    Kill,
    LauncherLost,
    Probe,
    ReadyLine,
    Record,
    Signal,
    SignalUnits,
    Start,
    Started,
    StartFailed,
    Stop,
    Verdict,
)
from gocker.scheduler.node import link
from gocker.scheduler.output import Terminal
from gocker.scheduler.shortage import Shortage
from gocker.scheduler.starting import Starts
from gocker.tree import remove_path
from gocker.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from gocker.plan.model import Plan, Unit
    from gocker.scheduler.control import Control
    from gocker.scheduler.launcher import Launcher
    from gocker.scheduler.machine import Machine
    from gocker.scheduler.messages import Adopt, Command, Event, Result
    from gocker.scheduler.output import Streams
    from gocker.scheduler.probes import Probes
    from gocker.scheduler.surroundings import Surroundings
    from gocker.scheduler.takeover import Taken


class Loop:
    """Runs one plan to its end.

    Of the launchers the first has answered ``init``, the others have been asked.
    """

    def __init__(
        self, plan: Plan, machine: Machine, launchers: Sequence[Launcher], around: Surroundings,
        run_id: str, control: Control | None = None, *, detached: bool = False,
        taken: Taken | None = None,
    ) -> None:  # fmt: skip
        # The latest that was adopted, with what is left of earlier ones.
        self.plan = plan
        # Launchers know parts of configurations by their addresses: a plan stays.
        self._plans = [plan]
        self.machine = machine
        self._control = control
        self.detached = detached
        self._launchers = launchers
        self._network = launchers[0].network
        self._around = around
        self.run_id = run_id
        self.selector = selectors.DefaultSelector()
        self.attempts = InFlight()
        self._probes: Probes | None = None
        self._chronicle = Chronicle(around)
        # What outlived the supervisor before us.
        self._taken = taken
        self._serial = 0 if taken is None else taken.serial
        self._began = 0.0
        self._terminal = Terminal(self.selector, around.sinks, self.attempts.pause)
        self._shortage = Shortage()
        self._starts = Starts(
            self.selector, around, self._shortage, self._network, self._failed, self._complete,
            self._ready,
        )  # fmt: skip
        self._failures: deque[Event] = deque()
        self._events = {
            "started": self.started, "failed": self.ended, "exited": self.ended,
            "signalled": lambda _: None, "exec_exited": self._on_probed,
        }  # fmt: skip
        self._commands: dict[type, Callable[[Any], None]] = {
            Start: self._start, Stop: self._signal, Kill: self._kill, Probe: self._probe,
            Hook: self._hook, Connect: self._connect,
            Signal: self._signal, Freeze: self._freeze, Answer: self._answer,
            Record: self._record, Verdict: self._verdict, Finish: self._finish,
        }  # fmt: skip

    def run(self) -> Result:
        """Run until the machine is done; return its result. Signals are ours meanwhile."""
        self._began = time.monotonic()
        # What is here now stays until the end.
        gc.freeze()
        gc.enable()
        self._links = Links(
            Link(launcher, self.selector, self._on_message, self._on_lost, ready=number == 0)
            for number, launcher in enumerate(self._launchers)
        )
        self.selector.register(self._around.settled_fd, selectors.EVENT_READ, self._around.settled)
        if self._network is not None:
            self._network.watch(self.selector, self._network_lost, partial(self.obey, []))
        with signals.Events(self.selector, self._signalled, self._around.passed_signals):
            self._keep_project()
            self._begin()
            if self._control is not None:
                self._control.serve(self, self.selector)
                self._around.began(self)
            while not self.machine.done:
                self._step()
        return self.machine.result()

    def _begin(self) -> None:
        if self._taken is None:
            self.obey(self.machine.begin(time.monotonic()))
        else:
            from gocker.scheduler import takeover

            takeover.resume(self, self._taken)

    def _step(self) -> None:
        deadline = self.machine.deadline()
        again = self._shortage.deadline()
        first = min((at for at in (deadline, again) if at is not None), default=None)
        timeout = None if first is None else max(0.0, first - time.monotonic())
        quiet_s = self._around.quiet_s()
        if quiet_s is not None:
            timeout = quiet_s if timeout is None else min(timeout, quiet_s)
        self._terminal.watch()
        ready = self.selector.select(timeout)
        for key, _ in ready:
            key.data()
        if quiet_s is not None and (not ready or quiet_s <= 0):
            self._around.quiet()
        now = time.monotonic()
        if deadline is not None and deadline <= now:
            self.obey(self.machine.tick(now))
        if again is not None:
            self.obey([*self._shortage.due(now)])
        self._around.settle()
        if self._control is not None:
            self._control.turn()

    # -- what operations and the command ask for ------------------------------------------------

    def record(self, event: str, fields: dict[str, Any]) -> None:
        """Write an event of the run's log."""
        self._around.record(event, fields)

    def _signalled(self, number: int) -> None:
        """Pass a signal on to the one container that we stand for, or end."""
        if number in self._around.passed_signals:
            self.tell(SignalUnits(self._around.passed_to, number))
        else:
            self.tell(Interrupted(number))

    def tell(self, event: Event) -> None:
        """Hand an event to the machine and do what it says."""
        self.obey(self.machine.handle(event, time.monotonic()))

    def adopt(self, request: Adopt) -> None:
        """Go on with another plan.

        Raises:
            PlanError: it is not sound.
            UsageError: it needs what the project has not. Nothing has changed then.
        """
        from gocker.scheduler.differences import merged

        link(request.plan)
        plan, renew = merged(self.plan, request.plan, set(request.renew))
        self._plans.append(request.plan)
        self.plan = plan
        if self._network is not None:
            self._network.adopt(plan, renew)
        self._around.adopted(plan)
        self._keep_project()
        self.tell(replace(request, renew=frozenset(renew)))

    def leave_terminal(self) -> None:
        """Let the launchers have our standard input, output and error instead of theirs."""
        self._links.tell_all({"op": "stdio"}, (0, 1, 2))

    def obey(self, commands: list[Command]) -> None:
        """Carry out commands in their order, then tell what went wrong meanwhile."""
        for command in commands:
            handler = self._commands.get(type(command))
            if handler is not None:
                handler(command)
        while self._failures:
            self.tell(self._failures.popleft())

    # -- commands ------------------------------------------------------------------------------

    def _start(self, command: Start) -> None:
        self._serial += 1
        container_id = f"{self.run_id}-{self._serial}"
        unit = self.plan.units[command.unit]
        made = self.plan.containers[command.unit]
        link = self.first_link() if _is_kept(unit) else self._links.least_busy()
        attempt = self.attempts.register(Attempt(container_id, unit, made, command.attempt, link))
        try:
            self._request_start(unit, attempt)
        except Exception as error:  # one container's failure, whatever it is
            for directory in attempt.anonymous.values():
                remove_path(directory)
            self._failed(attempt, unforeseen(error).to_wire())

    def _request_start(self, unit: Unit, attempt: Attempt) -> None:
        keep = attempt.made.artifacts is not None or self.plan.keep != "never"
        self._starts.request(unit, attempt, keep=keep, running=len(self.attempts))

    def _failed(self, attempt: Attempt, error: dict[str, Any]) -> None:
        """Try again later, or tell the machine that it failed."""
        if attempt.streams is not None:
            attempt.streams.abandon()
        command = Start(attempt.instance, attempt.number)
        if self._shortage.postpone(command, error, time.monotonic()):
            del self.attempts[attempt.id]
            if _is_kept(self.plan.units[attempt.instance]):
                self.let_go(attempt.id)
            if self._network is not None:
                self._network.ended(attempt.id)
            return
        attempt.ended = {"error": error}
        self._failures.append(StartFailed(attempt.instance, attempt.number, error))

    def _signal(self, command: Stop | Signal) -> None:
        attempt = self.attempts.current[command.unit, command.attempt]
        attempt.link.send({"op": "signal", "id": attempt.id, "signal": command.signal,
                           "or_kill": type(command) is Stop})  # fmt: skip

    def _freeze(self, command: Freeze) -> None:
        attempt = self.attempts.current[command.unit, command.attempt]
        attempt.link.send({"op": "freeze", "id": attempt.id, "frozen": command.frozen})

    def _answer(self, command: Answer) -> None:
        if self._control is not None:
            self._control.operations.answer(command)

    def _kill(self, command: Kill) -> None:
        attempt = self.attempts.current[command.unit, command.attempt]
        if self._shortage.forget(command.unit, command.attempt):
            attempt.ended = {"error": HostError("stopped before it could start").to_wire()}
            self.attempts[attempt.id] = attempt
            self._failures.append(
                StartFailed(attempt.instance, attempt.number, attempt.ended["error"])
            )
            return
        attempt.link.send({"op": "kill", "id": attempt.id})

    def _probe(self, command: Probe) -> None:
        self._probing().probe(self.attempts.current[command.unit, command.attempt], command)

    def _hook(self, command: Hook) -> None:
        self._probing().hook(self.attempts.current[command.unit, command.attempt], command)

    def _connect(self, command: Connect) -> None:
        self._probing().connect(self.attempts.current[command.unit, command.attempt], command)

    def _probing(self) -> Probes:
        if self._probes is None:
            from gocker.scheduler.probes import Probes

            self._probes = Probes(self.selector, self.tell)
        return self._probes

    def _ready(self, attempt: Attempt, line: str) -> None:
        self.tell(ReadyLine(attempt.instance, attempt.number, line))

    def _record(self, command: Record) -> None:
        fields = dict(command.fields)
        if command.event.startswith("container."):
            fields["container.id"] = self.attempts.current[fields["instance"], fields["attempt"]].id
        self._around.record(command.event, fields)

    def _verdict(self, command: Verdict) -> None:
        attempt = self.attempts.current.pop((command.unit, command.attempt))
        if self._network is not None:
            self._network.ended(attempt.id)
        if attempt.connecting is not None:
            self._probing().disconnect(attempt)
        self.attempts.pop(attempt.id, None)
        if _is_kept(self.plan.units[command.unit]):
            self.let_go(attempt.id)
        for callback in attempt.on_end:
            callback(attempt.exit_code())
        self._chronicle.ended(attempt, command)

    def _finish(self, command: Finish) -> None:
        self._chronicle.finished(command, time.monotonic() - self._began)

    # -- what outlives us ----------------------------------------------------------------------

    def _keep_project(self) -> None:
        """Give the first launcher what another supervisor would need, if anything outlives us."""
        if any(map(_is_kept, self.plan.units.values())):
            from gocker.scheduler import takeover

            fds = self._around.kept()
            takeover.keep_project(self._launchers[0], self.plan, self._network, fds)

    def let_go(self, container_id: str) -> None:
        """Let the first launcher forget a container that is over."""
        self.first_link().send({"op": "let_go", "id": container_id})

    def first_link(self) -> Link:
        """Return the launcher that has all containers which outlive us."""
        return self._links.first

    def streams(self, attempt: Attempt) -> Streams:
        """Return what reads a container's output, without any descriptor yet."""
        return self._starts.streams(attempt)

    def runs_on(self, attempt: Attempt, process: tuple[int, int]) -> None:
        """Note the first process of a container that has outlived another supervisor."""
        self._starts.processes[attempt.instance] = process

    # -- events --------------------------------------------------------------------------------

    def _on_message(self, message: dict[str, Any]) -> None:
        if not self.machine.done:
            self._events[message["event"]](message)

    def _on_lost(self) -> None:
        self.attempts.drain()
        self.tell(LauncherLost(lost().to_wire()))

    def _network_lost(self, error: GockerError) -> None:
        """Without its network the project is over, as without a launcher."""
        if not self.machine.done:
            self.tell(LauncherLost(error.to_wire()))

    def started(self, message: dict[str, Any]) -> None:
        """The container's program was executed."""
        attempt = self.attempts[message["id"]]
        if self._network is not None:
            self._network.started(attempt.id)
        self._starts.processes[attempt.instance] = (message["pid"], message["start_time"])
        self._chronicle.started(attempt, message)
        self.tell(Started(attempt.instance, attempt.number))

    def ended(self, message: dict[str, Any]) -> None:
        """The container is over; its last output may still be in the pipes."""
        attempt = self.attempts.get(message["id"])
        if attempt is None:
            return
        if "error" in message:
            self._failed(attempt, message["error"])
            self.obey([])
            return
        attempt.ended = message
        if attempt.streams is None or attempt.streams.ended:
            self._complete(attempt)
        else:
            attempt.streams.drain()

    def _complete(self, attempt: Attempt) -> None:
        """All output is there; with the exit it makes the end of the attempt."""
        ended = attempt.ended
        if ended is None:
            return
        self._shortage.freed(time.monotonic())
        stats = ended["stats"]
        self.tell(Exited(attempt.instance, attempt.number, ended["code"], ended["signal"], stats,
                          ended["duration_s"]))  # fmt: skip

    def _on_probed(self, message: dict[str, Any]) -> None:
        self._probing().exited(message)


def _is_kept(unit: Unit) -> bool:
    return unit.on_supervisor_death == "keep"
