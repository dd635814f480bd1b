"""Containers that outlive the supervisor: what the launcher holds of them, and hands on.

The supervisor sends copies of its descriptors with ``hold`` (`gocker.wire`): the ends of pipes, the
logs, the network's sockets. Nothing is done with them while it lives. When it is gone, the
output of these containers is read into their logs, and ends are noted in the run's journal
(``held.jsonl``, one JSON object a line, synced). The next supervisor connects to the
socket ``kept`` of the project and gets everything: ``taken``, then one ``held`` per container.
"""

from __future__ import annotations

import _socket as socket
import os
import struct
import time

from gocker import jsontext
from gocker.runtime import report
from gocker.wire import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from gocker.wire import Message

_UCRED = struct.Struct("3i")
_CHUNK = 1 << 16
# How long a new supervisor may take to read what it is told.
_PATIENCE_S = 10.0
# What is read when nobody else does; the others are only kept open.
_OUTPUT = ("out", "err", "tty")


class _Held:
    """Descriptors by role, and what the supervisor may not have heard any more."""

    __slots__ = ("exited", "fds", "message", "started")

    def __init__(self, message: Message, fds: dict[str, int]) -> None:
        self.message = message
        self.fds = fds
        self.started: dict[str, Any] | None = None
        self.exited: dict[str, Any] | None = None


class Holding:
    """What is held. Owns the descriptors.

    Args:
        watch: registers a descriptor with what is to be called when it can be read.
        unwatch: takes that back.
        adopted: called with the connection of a new supervisor.
    """

    def __init__(
        self, watch: Callable[[int, Callable[[], None]], None], unwatch: Callable[[int], None],
        adopted: Callable[[Connection], None],
    ) -> None:  # fmt: skip
        self._watch = watch
        self._unwatch = unwatch
        self._adopted = adopted
        self._project: dict[str, int] = {}
        self._held: dict[str, _Held] = {}
        # Nobody else reads: the supervisor is gone.
        self.alone = False

    # -- requests ------------------------------------------------------------------------------

    def hold(self, message: Message, fds: list[int]) -> None:
        """Keep copies of descriptors, by their roles in ``fds``, in the place of earlier ones.

        Without ``id`` they are the project's: ``listener``, ``journal``, ``null``, ``plan``,
        ``network``, ``names``. Else the container's: ``out``, ``err`` or ``tty``, ``log``,
        ``in``; ``stay``: it counts also when it has ended.
        """
        found = {role: os.dup(fd) for role, fd in zip(message["fds"], fds, strict=True)}
        container_id = message.get("id")
        if container_id is None:
            _close(self._project.values())
            self._project = found
            return
        held = self._held.get(container_id)
        if held is None:
            self._held[container_id] = _Held(message, found)
        else:
            _close(held.fds.values())
            held.message, held.fds = message, found

    def let_go(self, message: Message, _: list[int]) -> None:
        """Forget what is held of the container ``id``; without one everything."""
        if message["id"] is None:
            self.drop()
            return
        held = self._held.pop(message["id"], None)
        if held is not None:
            _close(held.fds.values())

    def drop(self) -> None:
        """Forget everything: nothing outlives this process's supervisor any more."""
        _close(self._project.values())
        self._project = {}
        for held in self._held.values():
            _close(held.fds.values())
        self._held.clear()

    # -- what happens --------------------------------------------------------------------------

    def started(self, container_id: str, fields: dict[str, Any]) -> None:
        """Note a start: the supervisor may die before it reads of it."""
        held = self._held.get(container_id)
        if held is not None:
            held.started = fields

    def exited(self, container_id: str, fields: dict[str, Any]) -> None:
        """Note an end; write it down if nobody else does."""
        held = self._held.get(container_id)
        if held is not None:
            held.exited = fields
        if self.alone:
            if held is not None:
                self._drain(held)
            self._note(fields, held=held is not None)

    def ids(self) -> set[str]:
        """Return the containers that outlive the supervisor."""
        return set(self._held) if "listener" in self._project else set()

    def stays(self, running: Iterable[str]) -> bool:
        """Return whether there is something to stay for; `running`: containers that live."""
        ids = self.ids()
        return not ids.isdisjoint(running) or any(
            held.message.get("stay") and held.exited is not None for held in self._held.values()
        )

    def orphaned(self) -> None:
        """Read and write what the supervisor has read and written, and wait for another one."""
        self.alone = True
        for target in range(3):  # whoever waits for the end of a command's output waits no more
            os.dup2(self._project["null"], target)
        for held in self._held.values():
            if held.exited is not None:
                self._note(held.exited, held=True)
            for role in _OUTPUT:
                if role in held.fds:
                    self._read_on(held, role)
        self._watch(self._project["listener"], self._accept)

    def end(self) -> None:
        """Take no new supervisor any more: nothing is left to be taken over."""
        self._unwatch(self._project["listener"])
        self.drop()

    def _read_on(self, held: _Held, role: str) -> None:
        self._watch(held.fds[role], lambda: self._copy(held, role))

    def _copy(self, held: _Held, role: str) -> None:
        self._read(held, role)

    def _read(self, held: _Held, role: str) -> bool:
        """Copy what is there now into the log; return whether there may be more."""
        fd = held.fds[role]
        try:
            chunk = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            chunk = b""  # EIO of a terminal: nobody has it open any more
        if not chunk:
            self._unwatch(fd)
            os.close(held.fds.pop(role))
            return False
        try:
            while chunk and "log" in held.fds:
                chunk = chunk[os.write(held.fds["log"], chunk) :]
        except OSError:
            pass  # a full disk is not the container's trouble
        return True

    def _drain(self, held: _Held) -> None:
        for role in _OUTPUT:
            while role in held.fds and self._read(held, role):
                pass

    def _note(self, fields: dict[str, Any], *, held: bool) -> None:
        record = {"time": time.time(), "held": held, **fields}
        line = jsontext.dumps(record).encode() + b"\n"

        def write() -> None:
            os.write(self._project["journal"], line)
            os.fdatasync(self._project["journal"])

        report.attempt("journal", write)

    # -- another supervisor --------------------------------------------------------------------

    def _accept(self) -> None:
        listener = socket.socket(fileno=os.dup(self._project["listener"]))
        try:
            fd, _ = listener._accept()  # type: ignore[attr-defined]  # `socket` has it
        except OSError:
            return  # it has left already
        finally:
            listener.close()
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        if _UCRED.unpack(credentials)[1] not in (0, os.geteuid()):
            sock.close()
            return
        self.alone = False
        self._unwatch(self._project["listener"])
        for held in self._held.values():
            for role in _OUTPUT:
                if role in held.fds:
                    self._unwatch(held.fds[role])
        sock.settimeout(_PATIENCE_S)
        connection = Connection(sock)
        self._adopted(connection)
        sock.settimeout(None)

    def hand_over(self, connection: Connection, lock_fd: int) -> None:
        """Tell a new supervisor everything.

        Raises:
            OSError: it is gone, or does not listen.
        """
        roles = [role for role in ("plan", "network", "names") if role in self._project]
        fds = (lock_fd, *(self._project[role] for role in roles))
        message = {"event": "taken", "fds": ["lock", *roles], "count": len(self._held)}
        connection.send(message, fds)
        for held in self._held.values():
            told = {**held.message, "event": "held", "fds": [*held.fds],
                    "started": held.started, "exited": held.exited}  # fmt: skip
            connection.send(told, tuple(held.fds.values()))


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
