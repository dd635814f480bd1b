"""The signals that end gocker: held while something half made would be left, else events.

`hold` and `release` are the first things that a start calls.
"""

from __future__ import annotations

# `signal` itself is constants made into enums: it would run before the launcher does.
import _signal  # type: ignore[import-not-found]  # in no stubs
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import selectors
    from collections.abc import Callable
    from typing import Any

_SIGNALS = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP)
_READABLE = 1  # selectors.EVENT_READ


def hold() -> None:
    """Let SIGINT, SIGTERM and SIGHUP wait (pthread_sigmask(3)) until `release`."""
    _signal.pthread_sigmask(_signal.SIG_BLOCK, _SIGNALS)


def release() -> None:
    """Let them through; one that waited is handled before this returns.

    Raises:
        KeyboardInterrupt: for a SIGINT that waited, where nothing else handles it.
    """
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, _SIGNALS)


class Events:
    """The signals as readable events; released when it begins, held when it ends.

    Args:
        selector: of the loop.
        callback: takes the number of a signal that ends gocker, or is one of `more`.
        more: further signals, which would otherwise do what they do by default.
    """

    def __init__(
        self, selector: selectors.BaseSelector, callback: Callable[[int], None],
        more: tuple[int, ...] = (),
    ) -> None:  # fmt: skip
        self._selector = selector
        self._callback = callback
        self._numbers = (*_SIGNALS, *more)
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        _signal.set_wakeup_fd(self._write)
        for number in self._numbers:
            self._before[number] = _signal.signal(number, lambda *_: None)
        self._selector.register(self._read, _READABLE, self._readable)
        release()

    def _readable(self) -> None:
        for number in os.read(self._read, 64):
            if number in self._numbers:  # others have handlers of their own
                self._callback(number)

    def __exit__(self, *_: object) -> None:
        hold()  # until the launchers have cleaned up
        for number, handler in self._before.items():
            _signal.signal(number, handler)
        _signal.set_wakeup_fd(-1)
        self._selector.unregister(self._read)
        os.close(self._read)
        os.close(self._write)
