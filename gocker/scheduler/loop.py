"""The I/O loop: carries out the machine's commands and tells it what happened.

Driven by events only: the launcher's socket, the containers' pipes, signals, and the machine's
own deadline. Every decision is the machine's.
"""

from __future__ import annotations

import _socket as socket
import gc
import json
import os
import selectors
import time
from collections import deque
from functools import partial

from gocker import events
from gocker.errors import ContainerError, GockerError, HostError, unforeseen
from gocker.scheduler import signals
from gocker.scheduler.launcher import lost
from gocker.scheduler.links import Link, Links
from gocker.scheduler.messages import (
    Answer,
    Connect,
    Exited,
    Finish,
    Freeze,
    Interrupted,
    Kill,
    LauncherLost,
    Probe,
    ProbeDone,
    ReadyLine,
    Record,
    Signal,
    Start,
    Started,
    StartFailed,
    Stop,
    Verdict,
    shell_code,
    signal_name,
)
from gocker.scheduler.node import link
from gocker.scheduler.output import Streams, Terminal, Watch
from gocker.scheduler.shortage import Shortage
from gocker.tree import remove_path
from gocker.values import dataclass, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from gocker import oci
    from gocker.plan.model import Container, Plan, Unit
    from gocker.scheduler.control import Control
    from gocker.scheduler.launcher import Launcher
    from gocker.scheduler.machine import Machine
    from gocker.scheduler.messages import Adopt, Command, Event, Result
    from gocker.scheduler.surroundings import Surroundings
    from gocker.scheduler.tap import Tap


_PROBE_OUTPUT = 4096
_EVIDENCE = tuple(
    key for key in events.EVENTS["container.exited"][1]
    if key.split(".")[0] in ("cpu", "memory", "pids", "io")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ended:
    """A container that has ended and whose files are still there."""

    instance: str
    attempt: int
    container_id: str
    # The upper layer of its root, and its anonymous volumes by mount source.
    upper: str
    anonymous: dict[str, str]
    made: Container
    image: str


class Attempt:
    """One container of a unit, from the request to its last event."""

    __slots__ = (
        "anonymous",
        "connecting",
        "ended",
        "id",
        "image",
        "instance",
        "link",
        "made",
        "number",
        "on_end",
        "service",
        "streams",
        "verdict",
    )

    def __init__(
        self, container_id: str, unit: Unit, made: Container, number: int, link: Link
    ) -> None:
        self.id = container_id
        # The plan may be another one when it ends.
        self.made = made
        self.service = unit.service
        self.image = unit.image
        instance = unit.name
        self.link = link
        self.instance = instance
        self.number = number
        self.streams: Streams | None = None
        self.ended: dict[str, Any] | None = None
        self.connecting: socket.socket | None = None
        self.anonymous: dict[str, str] = {}
        self.verdict: Verdict | None = None
        self.on_end: list[Callable[[int | None], None]] = []


class Loop:
    """Runs one plan to its end.

    Of the launchers the first has answered ``init``, the others have been asked.
    """

    def __init__(
        self, plan: Plan, machine: Machine, launchers: Sequence[Launcher], around: Surroundings,
        run_id: str, control: Control | None = None, *, detached: bool = False,
    ) -> None:  # fmt: skip
        self._plan = plan
        # Launchers know parts of configurations by their addresses: a plan stays.
        self._plans = [plan]
        self._machine = machine
        self._control = control
        self.detached = detached
        self._launchers = launchers
        self._network = launchers[0].network
        self._around = around
        self._run_id = run_id
        self._selector = selectors.DefaultSelector()
        self._attempts: dict[str, Attempt] = {}
        self._current: dict[tuple[str, int], Attempt] = {}
        self._probes: dict[str, tuple[str, int, int]] = {}
        self._serial = 0
        self._began = 0.0
        self._terminal = Terminal(self._selector, around.sinks, self._pause)
        self._shortage = Shortage()
        self._failures: deque[Event] = deque()
        self._events = {
            "started": self._on_started, "failed": self._on_ended, "exited": self._on_ended,
            "signalled": lambda _: None, "exec_exited": self._on_probe_exited,
        }  # fmt: skip
        self._commands: dict[type, Callable[[Any], None]] = {
            Start: self._start, Stop: self._stop, Kill: self._kill, Probe: self._probe,
            Connect: self._connect,
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
            Link(launcher, self._selector, self._on_message, self._on_lost, ready=number == 0)
            for number, launcher in enumerate(self._launchers)
        )
        self._selector.register(self._around.settled_fd, selectors.EVENT_READ, self._around.settled)
        if self._network is not None:
            self._network.watch(self._selector, self._network_lost, partial(self._obey, []))
        with signals.Events(self._selector, self._interrupted):
            self._obey(self._machine.begin(time.monotonic()))
            if self._control is not None:
                self._control.serve(self, self._selector)
                self._around.began(self)
            while not self._machine.done:
                self._step()
        return self._machine.result()

    def _step(self) -> None:
        deadline = self._machine.deadline()
        again = self._shortage.deadline()
        first = min((at for at in (deadline, again) if at is not None), default=None)
        timeout = None if first is None else max(0.0, first - time.monotonic())
        quiet_s = self._around.quiet_s()
        if quiet_s is not None:
            timeout = quiet_s if timeout is None else min(timeout, quiet_s)
        self._terminal.watch()
        ready = self._selector.select(timeout)
        for key, _ in ready:
            key.data()
        if quiet_s is not None and (not ready or quiet_s <= 0):
            self._around.quiet()
        now = time.monotonic()
        if deadline is not None and deadline <= now:
            self._obey(self._machine.tick(now))
        if again is not None:
            self._obey([*self._shortage.due(now)])
        self._around.settle()
        if self._control is not None:
            self._control.turn()

    def _pause(self, paused: bool) -> None:
        """Let the containers wait while nobody reads what we have of them already."""
        for attempt in self._attempts.values():
            if attempt.streams is not None:
                (attempt.streams.pause if paused else attempt.streams.resume)()

    # -- what operations and the command ask for ------------------------------------------------

    @property
    def plan(self) -> Plan:
        """Return the plan: the latest that was adopted, with what is left of earlier ones."""
        return self._plan

    @property
    def machine(self) -> Machine:
        """Return the machine, to look at."""
        return self._machine

    @property
    def selector(self) -> selectors.BaseSelector:
        """Return the selector; its data are functions to call."""
        return self._selector

    @property
    def run_id(self) -> str:
        """Return the run's identifier."""
        return self._run_id

    def record(self, event: str, fields: dict[str, Any]) -> None:
        """Write an event of the run's log."""
        self._around.record(event, fields)

    def tell(self, event: Event) -> None:
        """Hand an event to the machine and do what it says."""
        self._tell(event)

    def adopt(self, request: Adopt) -> None:
        """Go on with another plan.

        Raises:
            PlanError: it is not sound.
            UsageError: it needs what the project has not. Nothing has changed then.
        """
        from gocker.scheduler.differences import merged

        link(request.plan)
        plan, renew = merged(self._plan, request.plan, set(request.renew))
        self._plans.append(request.plan)
        self._plan = plan
        if self._network is not None:
            self._network.adopt(plan, renew)
        self._around.adopted(plan)
        self._tell(replace(request, renew=frozenset(renew)))

    def leave_terminal(self) -> None:
        """Let the launchers have our standard input, output and error instead of theirs."""
        self._links.tell_all({"op": "stdio"}, (0, 1, 2))

    def attach(self, unit: str, tap: Tap, ended: Callable[[int | None], None]) -> None:
        """Copy a running container's output from now on; `ended` takes its exit code.

        Raises:
            ContainerError: it is not running.
        """
        for attempt in self._attempts.values():
            streams = attempt.streams
            if attempt.instance == unit and attempt.ended is None and streams is not None:
                streams.taps.append(tap)
                attempt.on_end.append(ended)
                return
        tap.close()
        raise ContainerError(f"{unit!r} is not running", phase="attach")

    def _tell(self, event: Event) -> None:
        self._obey(self._machine.handle(event, time.monotonic()))

    def _obey(self, commands: list[Command]) -> None:
        """Carry out commands in their order, then tell what went wrong meanwhile."""
        for command in commands:
            handler = self._commands.get(type(command))
            if handler is not None:
                handler(command)
        while self._failures:
            self._tell(self._failures.popleft())

    # -- commands ------------------------------------------------------------------------------

    def _start(self, command: Start) -> None:
        self._serial += 1
        container_id = f"{self._run_id}-{self._serial}"
        unit = self._plan.units[command.unit]
        made = self._plan.containers[command.unit]
        attempt = Attempt(container_id, unit, made, command.attempt, self._links.least_busy())
        self._attempts[attempt.id] = attempt
        self._current[command.unit, command.attempt] = attempt
        try:
            self._request_start(command, attempt)
        except Exception as error:  # one container's failure, whatever it is
            for directory in attempt.anonymous.values():
                remove_path(directory)
            self._failed(attempt, unforeseen(error).to_wire())

    def _request_start(self, command: Start, attempt: Attempt) -> None:
        unit, made = self._plan.units[command.unit], attempt.made
        anonymous = attempt.anonymous = self._around.prepare(made, attempt.id)
        attempt.streams = streams = Streams(
            self._selector,
            lambda: self._around.open_log(command.unit, command.attempt),
            lambda: self._around.feed(command.unit) if made.attach else None,
            lambda: self._complete(attempt),
        )
        if unit.ready is not None and unit.ready.log is not None:
            streams.watch = Watch(unit.ready.log, lambda line: self._ready(attempt, line))
        streams.on_input = lambda: self._around.typing(command.unit, self._selector, streams)
        fds = streams.stdio(
            lambda: self._around.stdin(command.unit), stdin_open=made.stdin_open,
            terminal=made.config["process"].get("terminal", False),
        )  # fmt: skip
        try:
            self._shortage.check(max(fds), len(self._attempts))
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise
        keep = made.artifacts is not None or self._plan.keep != "never"
        start = partial(
            attempt.link.start, made, attempt.id, fds, anonymous,
            best_effort=unit.best_effort, keep=keep,
        )  # fmt: skip
        if made.network is None or self._network is None:
            start()
        else:
            self._network.attach(
                command.unit, attempt.id, partial(self._connected, attempt, start, fds)
            )

    def _connected(
        self, attempt: Attempt, start: Callable[..., None], fds: tuple[int, ...],
        netns: int, error: GockerError | None, *, shared: bool = False,
    ) -> None:  # fmt: skip
        """The container's network namespace is ready, or cannot be had."""
        try:
            if error is not None:
                for fd in fds:
                    os.close(fd)
                raise error
            start(netns=netns, shared=shared)
        except Exception as failure:  # one container's failure, whatever it is
            self._failed(attempt, unforeseen(failure).to_wire())

    def _failed(self, attempt: Attempt, error: dict[str, Any]) -> None:
        """Try again later, or tell the machine that it failed."""
        if attempt.streams is not None:
            attempt.streams.abandon()
        command = Start(attempt.instance, attempt.number)
        if self._shortage.postpone(command, error, time.monotonic()):
            del self._attempts[attempt.id]
            if self._network is not None:
                self._network.ended(attempt.id)
            return
        attempt.ended = {"error": error}
        self._failures.append(StartFailed(attempt.instance, attempt.number, error))

    def _stop(self, command: Stop) -> None:
        attempt = self._current[command.unit, command.attempt]
        attempt.link.send(
            {"op": "signal", "id": attempt.id, "signal": command.signal, "or_kill": True}
        )

    def _signal(self, command: Signal) -> None:
        attempt = self._current[command.unit, command.attempt]
        attempt.link.send({"op": "signal", "id": attempt.id, "signal": command.signal})

    def _freeze(self, command: Freeze) -> None:
        attempt = self._current[command.unit, command.attempt]
        attempt.link.send({"op": "freeze", "id": attempt.id, "frozen": command.frozen})

    def _answer(self, command: Answer) -> None:
        if self._control is not None:
            self._control.operations.answer(command)

    def _kill(self, command: Kill) -> None:
        attempt = self._current[command.unit, command.attempt]
        if self._shortage.forget(command.unit, command.attempt):
            attempt.ended = {"error": HostError("stopped before it could start").to_wire()}
            self._attempts[attempt.id] = attempt
            self._failures.append(
                StartFailed(attempt.instance, attempt.number, attempt.ended["error"])
            )
            return
        attempt.link.send({"op": "kill", "id": attempt.id})

    def _probe(self, command: Probe) -> None:
        attempt = self._current[command.unit, command.attempt]
        made = attempt.made
        exec_id = f"{attempt.id}-probe"
        read, write = os.pipe2(os.O_CLOEXEC)
        self._probes[exec_id] = (command.unit, command.attempt, read)
        process: oci.Process = {**made.config["process"], "args": list(command.healthcheck.test)}
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        message = {
            "op": "exec", "id": attempt.id, "exec_id": exec_id, "process": process,
            "timeout_s": command.healthcheck.timeout_s,
            **(made.landlock.for_exec() if made.landlock is not None else {}),
        }  # fmt: skip
        attempt.link.send(message, (null, write, write), close=(null, write))

    def _connect(self, command: Connect) -> None:
        """Connect to a port of the host's network, in which the container is."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        attempt = self._current[command.unit, command.attempt]
        attempt.connecting = sock

        def connected() -> None:
            if attempt.connecting is not sock:
                return  # the container ended in the same turn
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._disconnect(attempt)
            output = f"port {command.port}: {os.strerror(code) if code else 'accepted'}"
            self._tell(ProbeDone(command.unit, command.attempt, int(code != 0), output))

        # Never answered here: a command must not lead to another event before it is obeyed.
        sock.connect_ex(("127.0.0.1", command.port))
        self._selector.register(sock, selectors.EVENT_WRITE, connected)

    def _disconnect(self, attempt: Attempt) -> None:
        if attempt.connecting is not None:
            self._selector.unregister(attempt.connecting)
            attempt.connecting.close()
            attempt.connecting = None

    def _ready(self, attempt: Attempt, line: str) -> None:
        self._tell(ReadyLine(attempt.instance, attempt.number, line))

    def _record(self, command: Record) -> None:
        fields = dict(command.fields)
        if command.event.startswith("container."):
            fields["container.id"] = self._current[fields["instance"], fields["attempt"]].id
        self._around.record(command.event, fields)

    def _verdict(self, command: Verdict) -> None:
        attempt = self._current.pop((command.unit, command.attempt))
        if self._network is not None:
            self._network.ended(attempt.id)
        ended = attempt.ended
        self._disconnect(attempt)
        self._attempts.pop(attempt.id, None)
        for callback in attempt.on_end:
            callback(_code(ended))
        fields = self._fields(attempt) | {"verdict": command.verdict, "next": command.next}
        if ended is None:  # the launcher is gone: nobody knows how it ended
            fields["error"] = lost().to_wire()
            self._around.record("container.failed", fields)
        elif "error" in ended:
            self._around.record("container.failed", fields | {"error": ended["error"]})
        else:
            self._record_exit(attempt, ended, fields)
            if attempt.streams is not None and attempt.streams.lost:
                self._warn_of_loss(attempt, attempt.streams)
            if "upper" in ended:
                self._take_files(attempt, ended["upper"], command)

    def _warn_of_loss(self, attempt: Attempt, streams: Streams) -> None:
        fields = self._fields(attempt)
        del fields["attempt"], fields["container.id"]
        self._around.record("job.warned", fields | {
            "message": f"{streams.lost} bytes of its log are lost: {streams.loss}",
            "hint": "free some space; the job itself was not disturbed",
        })  # fmt: skip

    def _take_files(self, attempt: Attempt, upper: str, verdict: Verdict) -> None:
        """Before the next command, so before anyone who depends on the unit starts."""
        names = self._fields(attempt)

        def record(event: str, fields: dict[str, Any]) -> None:
            known = events.EVENTS[event][1]
            own = {key: value for key, value in names.items() if key in known}
            self._around.record(event, own | fields)

        ended = Ended(attempt.instance, attempt.number, attempt.id, upper, attempt.anonymous,
                      attempt.made, attempt.image)  # fmt: skip
        try:
            self._around.collect(ended, verdict, record)
        finally:
            attempt.link.send({"op": "release", "id": attempt.id})

    def _record_exit(self, attempt: Attempt, ended: dict[str, Any], fields: dict[str, Any]) -> None:
        number = ended["signal"]
        stats = ended["stats"]
        if stats.get("memory.oom_kills"):
            self._around.record("container.oom", self._fields(attempt) | {
                "memory.limit": stats["memory.limit"], "memory.peak": stats["memory.peak"],
                "oom_kills": stats["memory.oom_kills"],
            })  # fmt: skip
        fields |= {key: stats.get(key) for key in _EVIDENCE}
        fields["process.exit.code"] = ended["code"]
        fields["process.exit.signal"] = None if number is None else signal_name(number)
        fields["duration_s"] = ended["duration_s"]
        self._around.record("container.exited", fields)

    def _finish(self, command: Finish) -> None:
        fields: dict[str, Any] = {
            "exit_code": command.exit_code,
            "reason": command.reason,
            "totals": dict(command.totals),
            "duration_s": round(time.monotonic() - self._began, 6),
        }
        if command.error is not None:
            fields["error"] = dict(command.error)
        self._around.record("run.finished", fields)

    def _fields(self, attempt: Attempt) -> dict[str, Any]:
        return {
            "service": attempt.service,
            "instance": attempt.instance,
            "attempt": attempt.number,
            "container.id": attempt.id,
        }

    # -- events --------------------------------------------------------------------------------

    def _on_message(self, message: dict[str, Any]) -> None:
        if not self._machine.done:
            self._events[message["event"]](message)

    def _on_lost(self) -> None:
        for attempt in list(self._attempts.values()):
            if attempt.streams is not None:
                attempt.streams.drain()
        self._tell(LauncherLost(lost().to_wire()))

    def _network_lost(self, error: GockerError) -> None:
        """Without its network the project is over, as without a launcher."""
        if not self._machine.done:
            self._tell(LauncherLost(error.to_wire()))

    def _on_started(self, message: dict[str, Any]) -> None:
        attempt = self._attempts[message["id"]]
        if self._network is not None:
            self._network.started(attempt.id)
        fields = self._fields(attempt)
        self._around.record("container.started", fields | {
            "process.pid": message["pid"], "process.start_time": message["start_time"],
            "image": attempt.image, "start_s": message["start_s"],
        })  # fmt: skip
        for limit, requested, effective, file in message["applied"]:
            self._around.record("limit.applied", fields | {
                "limit": limit, "requested": requested, "effective": effective, "file": file,
            })  # fmt: skip
        for limit, requested, reason in message["skipped"]:
            self._around.record("limit.skipped", fields | {
                "limit": limit, "requested": requested, "reason": reason,
            })  # fmt: skip
        self._tell(Started(attempt.instance, attempt.number))

    def _on_ended(self, message: dict[str, Any]) -> None:
        """The container is over; its last output may still be in the pipes."""
        attempt = self._attempts.get(message["id"])
        if attempt is None:
            return
        if "error" in message:
            self._failed(attempt, message["error"])
            self._obey([])
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
        self._tell(Exited(attempt.instance, attempt.number, ended["code"], ended["signal"], stats,
                          ended["duration_s"]))  # fmt: skip

    def _on_probe_exited(self, message: dict[str, Any]) -> None:
        unit, number, read = self._probes.pop(message["exec_id"])
        os.set_blocking(read, False)
        try:
            output = os.read(read, _PROBE_OUTPUT).decode("utf-8", "replace")
        except BlockingIOError:
            output = ""
        os.close(read)
        if "error" in message:
            output = json.dumps(message["error"]["message"])
        code = None if message.get("timed_out") else message.get("code")
        if code is None and not message.get("timed_out"):
            code = 1  # killed by a signal, or never started
        self._tell(ProbeDone(unit, number, code, output))

    def _interrupted(self, number: int) -> None:
        self._tell(Interrupted(number))


def _code(ended: dict[str, Any] | None) -> int | None:
    """Return a container's exit code as a shell shows it, None if it had none."""
    if ended is None or "error" in ended:
        return None
    return shell_code(ended["code"], ended["signal"])
