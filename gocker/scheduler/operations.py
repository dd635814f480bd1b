"""What the requests on the control socket mean. Each one is checked before anything is done."""

from __future__ import annotations

import _socket as socket
import json
import os
import signal
import struct

from gocker.errors import GockerError, HostError, UsageError
from gocker.plan import codec
from gocker.scheduler.differences import differing
from gocker.scheduler.messages import (
    Adopt,
    Await,
    BringDown,
    PauseUnits,
    RestartUnits,
    SignalUnits,
    StartUnits,
    StopUnits,
)
from gocker.scheduler.node import State
from gocker.scheduler.tap import Tap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gocker.plan.model import Plan
    from gocker.scheduler.control import Client
    from gocker.scheduler.loop import Loop
    from gocker.scheduler.messages import Answer, Request
    from gocker.state.control import Message

_MAX_PLAN = 64 << 20
# In answers, which have to fit into a message.
_MOST_NAMES = 50
_LONGEST_S = 365 * 86400.0


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_seconds(value: object) -> bool:
    return value is None or (type(value) in (int, float) and 0 <= value <= _LONGEST_S)  # type: ignore[operator]


def _is_signal(value: object) -> bool:
    return type(value) is int and 1 <= value <= signal.SIGRTMAX


def _is_what(value: object) -> bool:
    return value in ("decided", "ready", "over")


def _is_bool(value: object) -> bool:
    return type(value) is bool


def _is_text(value: object) -> bool:
    return isinstance(value, str)


_UNITS: dict[str, Callable[[object], bool]] = {"units": _is_names}
_TIMED: dict[str, Callable[[object], bool]] = {**_UNITS, "timeout_s": _is_seconds}
# The requests with their fields; all fields are required, and no others are taken.
SCHEMA: dict[str, dict[str, Callable[[object], bool]]] = {
    "hello": {},
    "down": {"timeout_s": _is_seconds},
    "stop": _TIMED,
    "restart": {**_TIMED, "wait": _is_what, "dependents": _is_bool},
    "start": {**_UNITS, "wait": _is_what},
    "kill": {**_UNITS, "signal": _is_signal},
    "pause": _UNITS,
    "unpause": _UNITS,
    "await": {**_UNITS, "what": _is_what},
    "adopt": {"remove_orphans": _is_bool, "stop_timeout_s": _is_seconds, "wait": _is_what},
    "watch": {},
    "attach": {"unit": _is_text},
}  # fmt: skip
_FDS = {"adopt": 1, "attach": 3}


class Operations:
    """Carries out requests: hands them to the machine, and answers when it says so."""

    def __init__(self, loop: Loop, *, can_pause: bool = True) -> None:
        self._loop = loop
        self._can_pause = can_pause
        self._token = 0
        self._waiting: dict[int, Callable[[Answer], None]] = {}
        self._watching: set[Client] = set()

    def handle(self, client: Client, message: Message, fds: list[int]) -> None:
        """Carry out one request.

        Raises:
            GockerError: it is not one, or cannot be carried out.
        """
        op, number = message.pop("op", None), message.pop("id")
        schema = SCHEMA.get(op) if isinstance(op, str) else None
        if schema is None:
            raise UsageError(f"unknown request {op!r}"[:200])
        if message.keys() != schema.keys():
            raise UsageError(f"{op}: the fields are {sorted(schema)}")
        for name, fits in schema.items():
            if not fits(message[name]):
                raise UsageError(f"{op}: {name} is not valid")
        if len(fds) != _FDS.get(op, 0):
            raise UsageError(f"{op}: {_FDS.get(op, 0)} descriptors are wanted")
        handler = getattr(self, f"_{op}", None) or self._change
        handler(client, number, op, message, fds)

    def turn(self) -> None:
        """Wake those who watch."""
        for client in list(self._watching):  # one that has left leaves the set, too
            client.nudge()

    def answer(self, answer: Answer) -> None:
        """Hand on what the machine says to somebody who waits."""
        callback = self._waiting.pop(answer.token, None)
        if callback is not None:
            callback(answer)

    def when(
        self, what: Any, units: tuple[str, ...], callback: Callable[[Answer], None],
        gone: tuple[str, ...] = (),
    ) -> int:  # fmt: skip
        """Call back when the machine says that it is so."""
        self._token += 1
        self._waiting[self._token] = callback
        self._loop.tell(Await(self._token, what, units, gone))
        return self._token

    # -- requests ------------------------------------------------------------------------------

    def _hello(self, client: Client, number: int, *_: object) -> None:
        facts = {"run": self._loop.run_id, "pid": os.getpid(), "detached": self._loop.detached}
        client.answer(number, **facts)

    def _watch(self, client: Client, number: int, *_: object) -> None:
        self._watching.add(client)
        client.on_gone.append(lambda: self._watching.discard(client))
        client.answer(number)

    def _await(
        self, client: Client, number: int, _op: str, message: Message, _fds: list[int]
    ) -> None:
        self._answer_when(client, number, message["what"], self._units(message["units"]))

    def _down(
        self, client: Client, number: int, op: str, message: Message, _fds: list[int]
    ) -> None:
        self._note(client, op, ())
        self._loop.tell(BringDown(message["timeout_s"]))
        client.answer(number)

    def _change(
        self, client: Client, number: int, op: str, message: Message, _fds: list[int]
    ) -> None:
        """Hand on a request about units; answer when it has come true."""
        self._refuse_closing()
        units = self._units(message["units"])
        if op == "pause" and not self._can_pause:
            raise HostError(
                "containers are paused through their cgroups, and this project has none",
                hint="see gocker doctor for a cgroup that an ordinary user can have",
            )
        request, what = _request(op, units, message)
        self._note(client, op, units)
        self._loop.tell(request)
        if what is None:
            client.answer(number)
        else:
            self._answer_when(client, number, what, units)

    def _adopt(
        self, client: Client, number: int, op: str, message: Message, fds: list[int]
    ) -> None:
        """Take another plan; what differs begins anew unless the request says `keep`."""
        self._refuse_closing()
        plan, wishes = _read_plan(fds[0])
        loop = self._loop
        if plan.project != loop.plan.project:
            raise UsageError(f"this is project {loop.plan.project!r}, not {plan.project!r}")
        nodes = loop.machine.nodes()
        services = {unit.service for unit in plan.units.values()}
        others = [node for name, node in nodes.items() if name not in plan.units]
        # Fewer replicas than before are no orphans: their service is in the plan.
        remove = {node.name for node in others if node.unit.service in services}
        orphans = [node for node in others if node.unit.service not in plan.services]
        if message["remove_orphans"]:
            remove |= {node.name for node in orphans}
        living = [node for node in orphans if node.state is not State.FINISHED]
        renew = (differing(loop.plan, plan) - wishes["keep"]) | (wishes["renew"] & nodes.keys())
        changed = sorted(renew | remove | (plan.units.keys() - nodes.keys()))
        if changed:
            self._note(client, op, tuple(changed))
        loop.adopt(Adopt(
            plan, frozenset(renew), frozenset(remove), frozenset(wishes["start"]),
            message["stop_timeout_s"],
        ))  # fmt: skip
        started = tuple(name for name in plan.units if name in wishes["start"])
        self._answer_when(
            client, number, message["wait"], started, tuple(sorted(remove)),
            changed=changed[:_MOST_NAMES],
            orphans=sorted({node.unit.service for node in living})[:_MOST_NAMES],
        )  # fmt: skip

    def _attach(
        self, client: Client, number: int, _op: str, message: Message, fds: list[int]
    ) -> None:
        """Copy a container's output to the client's descriptors until the container ends.

        The third one is a socket: where to write what is typed is sent to it, ``t`` with a
        terminal's master, ``p`` with a pipe; it ends without for a container that reads nothing.
        """
        (unit,) = self._units([message["unit"]])
        tap = Tap(self._loop.selector, *fds[:2])

        def ended(code: int | None) -> None:
            tap.end(lambda: client.answer(number, exit_code=code, lost=0))

        tap.on_lost = lambda: client.answer(number, exit_code=None, lost=tap.lost)
        streams = self._loop.attempts.attach(unit, tap, ended)
        if streams.input_fd >= 0:
            _give(fds[2], streams.input_fd, b"t" if streams.is_terminal else b"p")
        client.on_gone.append(tap.close)

    # -- what they share -----------------------------------------------------------------------

    def _answer_when(
        self, client: Client, number: int, what: Any, units: tuple[str, ...],
        gone: tuple[str, ...] = (), **more: Any,
    ) -> None:  # fmt: skip
        def answer(given: Answer) -> None:
            client.answer(number, exit_code=given.exit_code, because=given.because, **more)

        token = self.when(what, units, answer, gone)

        def forget() -> None:
            self._waiting.pop(token, None)

        client.on_gone.append(forget)

    def _units(self, names: list[str]) -> tuple[str, ...]:
        """Return the units that names of services or instances mean; no names mean all."""
        nodes = self._loop.machine.nodes()
        if not names:
            return tuple(nodes)
        found: dict[str, None] = {}
        for name in names:
            own = [node.name for node in nodes.values() if name in (node.name, node.unit.service)]
            if not own:
                raise UsageError(
                    f"no such service in the running project: {name!r}"[:300],
                    hint=f"one of {', '.join(nodes)}"[:300],
                )
            found.update(dict.fromkeys(own))
        return tuple(found)

    def _refuse_closing(self) -> None:
        if self._loop.machine.closing:
            raise UsageError("the project is being brought down", closing=True)

    def _note(self, client: Client, op: str, units: tuple[str, ...]) -> None:
        self._loop.record("run.requested", {
            "request": op, "units": list(units), "uid": client.uid, "process.pid": client.pid,
        })  # fmt: skip


def _give(connection: int, fd: int, kind: bytes) -> None:
    """Send a descriptor through a socket, if there is room and somebody there."""
    sock = socket.socket(fileno=os.dup(connection))
    sock.setblocking(False)
    try:
        sock.sendmsg([kind], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))])
    except OSError as error:
        raise UsageError(f"attach: the socket for the input: {error.strerror}") from error
    finally:
        sock.close()


def _request(op: str, units: tuple[str, ...], message: Message) -> tuple[Request, str | None]:
    """Return the machine's event for a request, and what to wait for before the answer."""
    if op == "stop":
        return StopUnits(units, message["timeout_s"]), "over"
    if op == "start":
        return StartUnits(units), message["wait"]
    if op == "restart":
        request = RestartUnits(units, message["timeout_s"], dependents=message["dependents"])
        return request, message["wait"]
    if op == "kill":
        number = message["signal"]
        return SignalUnits(units, number), None
    return PauseUnits(units, paused=op == "pause"), None


def _read_plan(fd: int) -> tuple[Plan, dict[str, set[str]]]:
    """Return the plan in a file (a memfd) that came with a request, and what to do with units.

    Raises:
        UsageError: it is none.
    """
    with open(os.dup(fd), "rb") as file:
        file.seek(0)
        data = file.read(_MAX_PLAN + 1)
    try:
        if len(data) > _MAX_PLAN:
            raise ValueError("too long")
        body = json.loads(data)
        plan = codec.decode(body)
        wishes = {name: set(body[name]) for name in ("renew", "keep", "start")}
        if any(names - plan.units.keys() for names in wishes.values()):
            raise ValueError("a unit is not in it")
        return plan, wishes
    except (
        KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError, GockerError,
    ) as error:  # fmt: skip
        raise UsageError(f"adopt: this is no plan: {type(error).__name__}") from error
