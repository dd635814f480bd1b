"""One loop that waits for requests and for the processes it has made: launcher and entrance.

End of file on the socket means that the front is gone.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # no enums: they take 3 ms
import os
import select
import time
from errno import EMFILE

from gocker.errors import GockerError, unforeseen
from gocker.linux import process, signals
from gocker.runtime import report
from gocker.wire import LOST_FDS, Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gocker.wire import Message

    Handler = Callable[[Message, list[int]], None]


class Server:
    """Requests from the front, by their ``op``, and descriptors that are watched."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._handlers: dict[str, Handler] = {}
        self._closing = False

    def _dispatch(self, timeout_s: float | None) -> bool:
        """Wait, and call what is to be called; False if nothing was in time."""
        ready = self._epoll.poll(timeout_s)
        for fd, _ in ready:
            callback = self._callbacks.get(fd)
            if callback is not None:
                self._call(callback)
        return bool(ready)

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as error:  # of ours, and nobody to refuse: end in order
            if self._closing:
                raise
            report.complain("event", error)
            self._give_up()

    def _give_up(self) -> None:
        """End after a fault of our own."""
        self._close()

    def _watch(self, fd: int, callback: Callable[[], None]) -> None:
        self._callbacks[fd] = callback
        self._epoll.register(fd, select.EPOLLIN)

    def _unwatch(self, fd: int) -> None:
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _emit(self, event: str, **fields: Any) -> None:
        if self._closing:
            return
        try:
            self._connection.send({"event": event, "t": time.monotonic(), **fields})
        except (BrokenPipeError, ConnectionResetError):
            self._close()

    def _receive(self) -> None:
        received = None
        try:
            received = self._connection.receive()
        except ConnectionResetError:
            pass
        if received is None:
            self._close()
            return
        message, fds = received
        try:
            if LOST_FDS in message:
                raise OSError(EMFILE, "descriptors")
            self._handlers[message["op"]](message, fds)
        except GockerError as error:
            self._refuse(message, error)
        except Exception as error:  # whatever it is must reach the front, not end every container
            self._refuse(message, unforeseen(error))
        finally:
            for fd in fds:
                os.close(fd)

    def _refuse(self, message: Message, error: GockerError) -> None:
        event = "exec_exited" if message["op"] == "exec" else "failed"
        key = "exec_id" if event == "exec_exited" else "id"
        self._emit(event, **{key: message.get(key), "error": error.to_wire()})

    def _close(self) -> None:
        """The front is gone: nothing that ends with it may outlive it."""
        self._closing = True
        self._unwatch(self._connection.fileno())


def begin(fd: int, title: str, *, close_others: bool = True) -> None:
    """Become a server's process: nothing is left of the front but the socket `fd`."""
    if close_others:
        if fd > 3:
            process.close_range(3, fd - 1)
        process.close_range(fd + 1, 0xFFFFFFFF)
    os.set_inheritable(fd, False)
    os.umask(0o022)
    _reset_signals()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    process.prctl(process.PR_SET_CHILD_SUBREAPER, 1)
    process.prctl(process.PR_SET_DUMPABLE, 0)
    process.set_name(title)
    # A container with `init: true` has a fork of this process as PID 1: no path of the host.
    process.set_title(title)


def _reset_signals() -> None:
    """Leave no signal ignored: execve(2) resets handlers, but not ignored ones."""
    signals.stop_ignoring()
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, lambda *_: None)
