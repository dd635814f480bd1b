"""The launcher's requests about processes in running containers: join, exec, exec_signal.

``join`` makes a container that another process started one that ``exec`` can name.
"""

from __future__ import annotations

import binascii
import time

from gocker.errors import ContainerError
from gocker.runtime import imports, programs
from gocker.runtime.exec import Execution
from gocker.runtime.target import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gocker.cgroup.group import Cgroup
    from gocker.runtime.container import Container
    from gocker.runtime.copies import Copies
    from gocker.wire import Message


class Executions:
    """What is executed in containers, own and joined ones.

    Args:
        containers: this launcher's own, by id.
        watch: registers a descriptor with what is to be called when it can be read.
        unwatch: takes that back.
        emit: sends an event.
    """

    def __init__(
        self, containers: Mapping[str, Container],
        watch: Callable[[int, Callable[[], None]], None], unwatch: Callable[[int], None],
        emit: Callable[..., None],
    ) -> None:  # fmt: skip
        self._containers = containers
        self._targets: dict[str, Target] = {}
        self._executions: dict[str, Execution] = {}
        # Cgroups of executions that have ended while something of theirs had not.
        self._stale: list[Cgroup] = []
        self._copies: Copies | None = None
        self._watch = watch
        self._unwatch = unwatch
        self._emit = emit

    def seconds_to_deadline(self) -> float | None:
        """Return how long until the first timeout, or None."""
        deadlines = [item.deadline for item in self._executions.values() if item.deadline]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def time_out(self) -> None:
        """Kill what has had its time."""
        now = time.monotonic()
        for execution in self._executions.values():
            if execution.deadline and execution.deadline <= now:
                execution.time_out()

    def busy(self) -> bool:
        """Return whether something runs that ends with this process, and is to be reaped."""
        return any(not item.detach for item in self._executions.values())

    def client_gone(self) -> None:
        """Kill what may not outlive the front."""
        for execution in self._executions.values():
            execution.client_gone()

    def target(self, container_id: str) -> Target | None:
        """Return a container that was joined, or None."""
        return self._targets.get(container_id)

    # -- requests ------------------------------------------------------------------------------

    def join(self, message: Message, _: list[int]) -> None:
        """Look a container up that was started by another process, for `exec`.

        ``id``, ``pid``, ``start_time``, ``cgroups_path``; ``seccomp``: the profile as in OCI, or
        ``seccomp_program``: base64 and flags. ``programs``: where compiled ones
        are kept. ``copies``: it is for ``copy``, so it may be paused; ``paused``: it may be.
        """
        compiled: tuple[bytes, int] | None = None
        if "seccomp_program" in message:
            text, flags = message["seccomp_program"]
            compiled = binascii.a2b_base64(text), flags
        elif message.get("seccomp") is not None:
            compiled = programs.program(message["seccomp"], message.get("programs"))
        target = Target.find(
            message["id"], message["pid"], message["start_time"], message["cgroups_path"],
            compiled, paused=message.get("copies", False) or message.get("paused", False),
        )  # fmt: skip
        if message.get("copies"):
            from gocker.runtime.copies import Copies  # most launchers never need it

            self._copies = Copies(self, self._watch, self._unwatch, self._emit)
        imports.forget_imports()
        before = self._targets.pop(target.id, None)
        if before is not None:
            before.close()
        self._targets[target.id] = target
        self._emit("joined", id=target.id)

    def copy(self, message: Message, fds: list[int]) -> None:
        """See `gocker.runtime.copies`."""
        if self._copies is None:
            raise ContainerError("no container was joined for copies", phase="cp")
        self._copies.copy(message, fds)

    def usage(self, message: Message, _: list[int]) -> None:
        """Tell what a joined container uses now; ``usage`` has the figures of `Cgroup.usage`.

        None of them where the container has no cgroup of its own. ``gone``: it has ended.
        """
        target = self._targets[message["id"]]
        figures = {} if target.group is None else target.group.usage()
        self._emit("usage", id=target.id, gone=target.has_ended(), **figures)

    def exec(self, message: Message, fds: list[int]) -> None:
        """Execute a process in a container; its ``exec_exited`` always comes.

        ``exec_id``, ``id``, ``process``, ``timeout_s``, ``landlock``; with ``report`` also
        ``exec_started``, once the program was executed. ``orphan``: it is left to the
        container, and ``exec_started`` is all that is told.
        """
        container = self._containers.get(message["id"])
        target = self._targets.get(message["id"]) if container is None else Target.own(container)
        if target is None:
            raise ContainerError(f"container {message['id']} is not running", phase="exec")
        self._remove_stale()
        exec_id = message["exec_id"]
        is_terminal = message["process"].get("terminal", False)
        execution = Execution(
            message["process"], target, [] if is_terminal else fds,
            timeout_s=message.get("timeout_s"), orphan=message.get("orphan", False),
            landlock=message.get("landlock"),
            console_fd=fds[0] if is_terminal else -1,
        )  # fmt: skip
        self._executions[exec_id] = execution
        self._watch(execution.pidfd, lambda: self._exited(exec_id))
        if message.get("report"):
            self._watch(execution.status_fd, lambda: self._executed(exec_id))

    def signal(self, message: Message, _: list[int]) -> None:
        """Send ``signal`` to what ``exec_id`` executes; none if it has ended."""
        execution = self._executions.get(message["exec_id"])
        if execution is not None:
            execution.signal(message["signal"])

    # -- events --------------------------------------------------------------------------------

    def _executed(self, exec_id: str) -> None:
        """The status pipe has something: the error, or its end."""
        execution = self._executions[exec_id]
        self._unwatch(execution.status_fd)
        error = execution.error()
        if error is None:
            self._emit("exec_started", exec_id=exec_id, pid=execution.pid)
        else:
            self._forget(exec_id)
            execution.wait()
            self._emit("exec_exited", exec_id=exec_id, error=error)

    def _exited(self, exec_id: str) -> None:
        execution = self._executions[exec_id]
        if execution.status_fd >= 0:
            self._unwatch(execution.status_fd)
        self._forget(exec_id)
        fields = execution.wait()
        if execution.orphan and "error" not in fields:
            self._emit("exec_started", exec_id=exec_id, pid=None)
            return
        self._emit("exec_exited", exec_id=exec_id, **fields)
        if execution.group is not None:
            self._stale.append(execution.group)
        self._remove_stale()

    def _remove_stale(self) -> None:
        self._stale = [group for group in self._stale if not group.remove()]

    def _forget(self, exec_id: str) -> None:
        self._unwatch(self._executions.pop(exec_id).pidfd)
