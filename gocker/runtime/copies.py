"""The launcher's request ``copy``: one side of a copy between the host and a container."""

from __future__ import annotations

from gocker.errors import ContainerError
from gocker.runtime.copying import Copy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gocker.runtime.executions import Executions
    from gocker.wire import Message


class Copies:
    """Copies under way. The arguments are as those of `gocker.runtime.executions.Executions`."""

    def __init__(
        self, executions: Executions, watch: Callable[[int, Callable[[], None]], None],
        unwatch: Callable[[int], None], emit: Callable[..., None],
    ) -> None:  # fmt: skip
        self._executions = executions
        self._watch = watch
        self._unwatch = unwatch
        self._emit = emit

    def copy(self, message: Message, fds: list[int]) -> None:
        """Start one side; ``copied`` tells its end, with ``error``, ``skipped`` or ``broken``.

        ``copy_id``; ``id`` of the container, joined before, or None for the host; the rest is
        for `gocker.runtime.copying`. One descriptor: of the stream.
        """
        target = None
        if message["id"] is not None:
            target = self._executions.target(message["id"])
            if target is None:
                raise ContainerError(f"container {message['id']} is not running", phase="cp")
        copy = Copy(message, target, fds[0])
        self._watch(copy.pidfd, lambda: self._ended(message["copy_id"], copy))

    def _ended(self, copy_id: str, copy: Copy) -> None:
        self._unwatch(copy.pidfd)
        self._emit("copied", copy_id=copy_id, **copy.wait())
