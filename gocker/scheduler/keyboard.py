"""What the user types, for one container of a run: to its terminal, or to a pipe."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # in no stubs; `signal` makes enums
import fcntl
import os
import selectors
import struct
import termios

from gocker.terminal import Keys, Modes, window_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_CHUNK = 4096
_END_OF_FILE = b"\4"  # the default VEOF of termios(3)


class Keyboard:
    """Copies our standard input; with a terminal at the other end, ours is raw meanwhile.

    `close` restores it, whatever happened. Ctrl-C then is a character for the container, and
    SIGWINCH, SIGTSTP and SIGCONT are handled here.
    """

    def __init__(self, keys: bytes = b"", on_detach: Callable[[], object] = bool) -> None:
        """`on_detach` is called when `keys` were typed; nothing is read any more then."""
        self._keys = Keys(keys)
        self._on_detach = on_detach
        self._modes = Modes(0)
        self._selector: selectors.BaseSelector | None = None
        self._target = -1
        self._terminal = False
        self._reading = False
        self._data = b""
        self._before: dict[int, Any] = {}

    def open(
        self, selector: selectors.BaseSelector, target: int, end: Callable[[], None] | None, *,
        terminal: bool,
    ) -> None:  # fmt: skip
        """Begin to copy to `target`, non-blocking and the caller's own.

        `end` ends a pipe at the end of our input, which is not passed on without it.
        """
        self._selector, self._end, self._terminal = selector, end, terminal
        self._target = os.dup(target)
        if terminal:
            self._resize()
            for number, handler in (
                (_signal.SIGWINCH, self._resize), (_signal.SIGTSTP, self._suspend),
                (_signal.SIGCONT, self._resume),
            ):  # fmt: skip
                self._before[number] = _signal.signal(number, lambda *_, do=handler: do())
            self._modes.raw()
        else:
            # Not stopped, when in the background, by what is typed for others (tty_ioctl).
            self._before[_signal.SIGTTIN] = _signal.signal(_signal.SIGTTIN, _signal.SIG_IGN)
        self._listen(True)

    def close(self) -> None:
        """Stop; our terminal has its own modes again."""
        for number, handler in self._before.items():
            _signal.signal(number, handler)
        self._before.clear()
        if self._terminal:
            self._modes.restore()
        if self._target >= 0:
            os.close(self._target)
            self._target = -1

    def _listen(self, wanted: bool) -> None:
        if self._selector is None or wanted == self._reading:
            return
        self._reading = wanted
        try:
            if wanted:
                self._selector.register(0, selectors.EVENT_READ, self._read)
            else:
                self._selector.unregister(0)
        except PermissionError:
            self._reading = False  # a regular file, which epoll refuses: it is passed as it is

    def _read(self) -> None:
        try:
            data = os.read(0, _CHUNK)
        except OSError:  # EIO: we are in the background, or our terminal is gone
            self._listen(False)
            return
        if data:
            self._write(self._keys.take(data))
            if self._keys.pressed:
                self._listen(False)
                self._on_detach()
            return
        self._listen(False)
        if self._end is None:
            return
        if self._terminal:
            self._write(_END_OF_FILE)
        else:
            os.close(self._target)
            self._target = -1
            self._end()

    def _write(self, data: bytes) -> None:
        self._data += data
        try:
            self._data = self._data[os.write(self._target, self._data) :]
        except BlockingIOError:
            pass
        except OSError:
            self._data = b""  # nobody has it open
            return
        if self._data and self._reading and self._selector is not None:
            # Full: read on when it has room; a duplicate, as the loop watches the other one.
            self._listen(False)
            self._selector.register(self._target, selectors.EVENT_WRITE, self._room)

    def _room(self) -> None:
        if self._selector is not None:
            self._selector.unregister(self._target)
            self._write(b"")
            self._listen(True)

    def _resize(self) -> None:
        size = window_size()
        if size is not None and self._target >= 0:
            try:
                fcntl.ioctl(self._target, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
            except OSError:
                return  # hung up

    def _suspend(self) -> None:
        self._modes.restore()
        os.kill(os.getpid(), _signal.SIGSTOP)
        self._resume()

    def _resume(self) -> None:
        self._modes.raw()
        self._resize()


class Screen:
    """The output of a terminal as it is: a feed of `gocker.scheduler.output.Streams`."""

    def __init__(self, write: Any) -> None:
        self._write = write

    def feed(self, chunk: bytes, stream: int = 1) -> None:  # noqa: ARG002  # there is but one
        """Take the next bytes."""
        self._write(chunk)

    def close(self) -> None:
        """Do nothing: what came was written."""
