"""Containers that outlive their supervisor, from its side: given away ahead, taken over after.

`keep` and `keep_project` give the launcher copies of what it needs to go on without us
(`gocker.runtime.holding`); `receive` and `resume` are the next supervisor's.
"""

from __future__ import annotations

import json
import os
import time

from gocker.errors import HostError
from gocker.plan import codec
from gocker.scheduler.attempt import Attempt
from gocker.scheduler.output import Streams
from gocker.values import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from gocker.plan.model import Plan, Unit
    from gocker.scheduler.launcher import Launcher
    from gocker.scheduler.loop import Loop
    from gocker.scheduler.network import ProjectNetwork
    from gocker.scheduler.resume import Resumed
    from gocker.wire import Message


def is_kept(unit: Unit) -> bool:
    """Return whether a unit's containers outlive us."""
    return unit.on_supervisor_death == "keep"


def keep_project(
    launcher: Launcher, plan: Plan, network: ProjectNetwork | None, fds: dict[str, int]
) -> None:  # fmt: skip
    """Give away what is needed to go on with a plan.

    Args:
        launcher: that starts the containers which are kept.
        plan: as it is now.
        network: of the project.
        fds: ``listener``, ``journal`` and ``null``; closed here.
    """
    plan_fd = os.memfd_create("gocker-plan", os.MFD_CLOEXEC)
    with open(plan_fd, "wb", closefd=False) as file:
        file.write(json.dumps(codec.encode(plan), separators=(",", ":")).encode())
    given = {**fds, "plan": plan_fd, **(network.copies() if network is not None else {})}
    fds_now = tuple(given.values())
    launcher.send({"op": "hold", "fds": [*given]}, fds_now, close=fds_now)


def keep(
    attempt: Attempt, unit: Unit, network: ProjectNetwork | None, streams: Streams
) -> None:  # fmt: skip
    """Give away copies of a container's descriptors."""
    fds = streams.copies()
    message = {
        "op": "hold", "id": attempt.id, "instance": unit.name, "service": unit.service,
        "attempt": attempt.number, "image": unit.image, "fds": [*fds],
        "network": network.key(attempt.id) if network is not None else None,
        "stay": unit.restart.condition != "no", "anonymous": attempt.anonymous,
    }  # fmt: skip
    attempt.link.send(message, tuple(fds.values()))


def start(
    attempt: Attempt, unit: Unit, network: ProjectNetwork | None,
    then: Callable[..., None], **how: Any,
) -> None:  # fmt: skip
    """Start a container by `then`, its descriptors given away before; a terminal's after it."""
    streams = attempt.streams
    assert streams is not None  # noqa: S101  # it is about to start
    typing = streams.on_input

    def opened() -> None:
        if typing is not None:
            typing()
        keep(attempt, unit, network, streams)

    keep(attempt, unit, network, streams)
    streams.on_input = opened
    then(**how)


@dataclass(slots=True)
class Taken:
    """What a launcher handed on. Owns the descriptors; `held` are its messages by container."""

    plan: Plan
    lock_fd: int
    network: dict[str, int]
    held: dict[str, Message]
    fds: dict[str, dict[str, int]]
    # What is known of every unit, and the number of the last container.
    known: Mapping[str, Resumed] = field(default_factory=dict)
    serial: int = 0

    def close(self) -> None:
        """Give everything up; whoever holds it holds it on."""
        for fds in (self.network, *self.fds.values()):
            for fd in fds.values():
                os.close(fd)


def receive(launcher: Launcher) -> Taken | None:
    """Return what a launcher without a supervisor tells; None if it ends instead.

    Raises:
        HostError: it tells nothing sound.
    """
    messages: list[tuple[Message, dict[str, int]]] = []
    try:
        while not messages or len(messages) <= messages[0][0]["count"]:
            received = launcher.connection.receive()
            if received is None:
                break
            message, fds = received
            messages.append((message, dict(zip(message["fds"], fds, strict=True))))
    except ConnectionResetError:
        pass
    if not messages or len(messages) <= messages[0][0]["count"]:
        for _, given in messages:
            for fd in given.values():
                os.close(fd)
        return None
    (_, project), *held = messages
    try:
        with open(project.pop("plan"), "rb") as file:
            file.seek(0)
            plan = codec.decode(json.load(file))
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise HostError("the launcher that lives on has no sound plan") from error
    return Taken(
        plan, project.pop("lock"), project,
        {message["id"]: message for message, _ in held},
        {message["id"]: fds for message, fds in held},
    )  # fmt: skip


def resume(loop: Loop, taken: Taken) -> None:
    """Go on with everything that was taken over; called in the place of the machine's begin."""
    alive = {
        container_id: message for container_id, message in taken.held.items()
        if message["instance"] in loop.plan.units
        and taken.known[message["instance"]].attempt == message["attempt"]
        and taken.known[message["instance"]].state in ("starting", "running", "paused")
    }  # fmt: skip
    attempts = {
        key: loop.attempts.register(_attempt(loop, key, message, taken))
        for key, message in alive.items()
    }
    loop.obey(loop.machine.resume(taken.known, time.monotonic()))
    for container_id, attempt in attempts.items():
        message = alive[container_id]
        started = message["started"]
        if started is not None and taken.known[attempt.instance].state == "starting":
            loop.started(started)  # nobody has told of it
        elif started is not None:
            loop.runs_on(attempt, (started["pid"], started["start_time"]))
        if message["exited"] is not None:
            loop.ended(message["exited"])
    for container_id in taken.held.keys() - alive.keys():
        loop.let_go(container_id)
        for fd in taken.fds[container_id].values():
            os.close(fd)


def _attempt(loop: Loop, container_id: str, message: Message, taken: Taken) -> Attempt:
    unit = loop.plan.units[message["instance"]]
    made = loop.plan.containers[unit.name]
    attempt = Attempt(container_id, unit, made, message["attempt"], loop.first_link())
    attempt.image = message["image"]
    attempt.anonymous = message["anonymous"]
    attempt.streams = loop.streams(attempt)
    attempt.streams.resumed(taken.fds[container_id])
    return attempt
