"""A supervisor for containers that outlived theirs (x-gocker.on_supervisor_death: keep).

Whoever changes such a project starts it: a process in a session of its own, which has the
project's lock, takes the containers over from the launcher that holds them, and then is the
supervisor, as ``up -d``'s.
"""

from __future__ import annotations

import os
import sys

from gocker.errors import GockerError, HostError, unforeseen
from gocker.state.control import KEPT, connected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Iterable
    from typing import Any

    from gocker.plan.model import Plan
    from gocker.scheduler.loop import Loop
    from gocker.scheduler.resume import Resumed
    from gocker.scheduler.takeover import Taken
    from gocker.state.containers import ContainerState
    from gocker.state.locks import Lock
    from gocker.state.outcomes import UnitState
    from gocker.state.roots import Roots
    from gocker.state.run import Run
    from gocker.wire import Message


def revive(roots: Roots, project: str, lock: Lock) -> bool:
    """Start a supervisor if containers of the project have outlived theirs.

    Args:
        roots: where the state is.
        project: held by this process.
        lock: of the project; the supervisor's afterwards, and closed here, if there is one.

    Returns:
        whether a supervisor listens now.

    Raises:
        HostError: it could not take over; the containers run on.
    """
    sock = connected(roots, project, KEPT)
    if sock is None:
        return False
    read, write = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    middle = os.fork()
    if middle == 0:
        # Twice, so that nobody has to wait for the supervisor.
        if os.fork() == 0:
            _become(sock, project, (lock.fd, write))
        os._exit(0)
    os.waitpid(middle, 0)
    os.close(write)
    sock.close()
    with open(read, "rb") as file:
        word = file.read()
    if word == b"+":
        lock.close()
        return True
    if word:
        raise HostError(
            f"project {project!r}: its containers live on, but not under this gocker: "
            f"{word.decode('utf-8', 'replace')}",
            hint="gocker down ends them",
        )
    return False  # the launcher was about to end: nothing lives any more


def _become(sock: socket, project: str, keep: tuple[int, int]) -> None:
    """Be the supervisor; never return."""
    from gocker.scheduler import signals, spawn

    code = 70
    write = keep[1]
    try:
        os.setsid()
        signals.hold()
        spawn.in_background = True
        _close_others({0, 1, 2, sock.fileno(), *keep})
        code = _supervise(sock, project, write)
    except Exception as error:  # the command has to be told, whatever it is
        try:
            os.write(write, str(unforeseen(error)).encode()[:4000])
        except OSError:
            pass
    finally:
        os._exit(code)


def _close_others(wanted: set[int]) -> None:
    """Close what is the command's: its launcher must read of its end, and its files be its own."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd not in wanted:
            try:
                os.close(fd)
            except OSError:
                pass  # of the listing itself


def _supervise(sock: socket, project: str, write: int) -> int:
    from gocker.cli.session import Session
    from gocker.log import Console
    from gocker.report.output import QueueSink
    from gocker.scheduler import takeover
    from gocker.scheduler.control import open_control
    from gocker.scheduler.launcher import Launcher
    from gocker.scheduler.messages import Options
    from gocker.state import lost
    from gocker.state.roots import Roots
    from gocker.state.run import runs

    launcher = Launcher(0, sock)
    taken = takeover.receive(launcher)
    if taken is None:
        return 0
    with Roots.open(os.environ) as roots:
        run = [found for found in runs(roots, project) if found.alive()][-1]
        run.take_over(taken.lock_fd)
        lost.mend(run)
        last, gone = learn(run, taken)
        if taken.network:
            from gocker.scheduler.network import ProjectNetwork

            launcher.network = ProjectNetwork.resumed(taken.plan, taken.network, {
                key: message["network"] for key, message in taken.held.items()
                if message["network"] is not None
            })  # fmt: skip
        stderr = QueueSink(2)
        session = Session(
            taken.plan, roots, launcher, Console(stderr, "none"), stderr, run=run,
            control=open_control(roots, project), shown=lambda _: False,
            report=Announcement(write, run), taken=taken, last=last, lost=gone,
        )  # fmt: skip
        return session.execute(Options(detached=True)).exit_code


class Announcement:
    """Tells the command that the supervisor listens, and lets go of its terminal."""

    def __init__(self, fd: int, run: Run) -> None:
        self._fd = fd
        self._run = run

    def begin(self, loop: Loop, *_: object) -> None:
        """Go on without the command."""
        from gocker.cli.detach import leave_terminal

        leave_terminal(self._run.path)
        loop.leave_terminal()
        os.write(self._fd, b"+")
        os.close(self._fd)


def learn(run: Run, taken: Taken) -> tuple[int, list[ContainerState]]:
    """Find out what became of every unit; note it in `taken`.

    Returns:
        the number of the log's last record, and the containers that died with the supervisor.
    """
    from gocker.state import runlog
    from gocker.state.containers import LIVING, replay
    from gocker.state.outcomes import of_records

    with run.opened() as fd:
        records = list(runlog.read("run.jsonl", dir_fd=fd))
    found = replay(records, alive=True)
    latest = {item.instance: item for item in found}
    units = of_records(records)
    held: dict[str, Message] = {}
    for message in taken.held.values():
        known = held.get(message["instance"])
        if known is None or known["attempt"] < message["attempt"]:
            held[message["instance"]] = message
    taken.known = {
        name: _known(taken.plan, name, latest.get(name), held.get(name), units.get(name))
        for name in taken.plan.units
    }
    taken.serial = max(map(_number, [*taken.held, *(item.id for item in found)]), default=0)
    gone = [
        item for item in latest.values()
        if item.status in LIVING[:2] and item.id not in taken.held
    ]  # fmt: skip
    return (records[-1]["seq"] if records else 0), gone


def _number(container_id: str) -> int:
    tail = container_id.rpartition("-")[2]
    return int(tail) if tail.isdecimal() else 0


def _known(
    plan: Plan, name: str, state: ContainerState | None, held: Message | None,
    unit: UnitState | None,
) -> Resumed:  # fmt: skip
    from gocker.scheduler.resume import Resumed

    attempt = 0 if state is None else state.attempt
    if held is not None and held["attempt"] > attempt:
        return Resumed("starting", held["attempt"])
    if state is None:
        return _over(unit, 0) if unit is not None and unit.over else Resumed("lost")
    if held is not None and state.id == held["id"] and state.status in ("running", "paused"):
        health: Any = state.health if plan.units[name].health is not None else None
        return Resumed(state.status, attempt, health)
    if state.status == "restarting" and plan.units[name].on_supervisor_death == "keep":
        return Resumed("again", attempt)
    if unit is not None and (unit.over or state.status in ("exited", "failed")):
        return _over(unit, attempt)
    return Resumed("lost", attempt)


def _over(unit: UnitState, attempt: int) -> Resumed:
    from gocker.scheduler.resume import Resumed

    verdict: Any = "cancelled" if unit.verdict in (None, "lost") else unit.verdict
    return Resumed("over", attempt, verdict=verdict, code=unit.exit_code, failed=unit.failed)


def end(roots: Roots, projects: Iterable[str]) -> None:
    """Let launchers that hold containers end them, without a supervisor."""
    from gocker.scheduler import takeover
    from gocker.scheduler.launcher import Launcher

    for project in projects:
        sock = connected(roots, project, KEPT)
        if sock is None:
            continue
        launcher = Launcher(0, sock)
        try:
            taken = takeover.receive(launcher)
            if taken is not None:
                os.close(taken.lock_fd)
                taken.close()
                launcher.ask({"op": "let_go", "id": None})
        except GockerError:
            launcher.ask({"op": "let_go", "id": None})
        finally:
            launcher.close()
