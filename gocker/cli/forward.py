"""The signals that a client passes on to the program that it stands for."""

from __future__ import annotations

# `signal` itself is constants made into enums, which take 8 ms.
import _signal  # type: ignore[import-not-found]  # in no stubs
import os

from gocker.scheduler import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Not caught, or about this process: its children, its job control, its own faults.
_OWN = frozenset(
    getattr(_signal, f"SIG{name}")
    for name in ("KILL", "STOP", "CHLD", "CONT", "TSTP", "TTIN", "TTOU", "PIPE", "WINCH",
                 "SEGV", "BUS", "FPE", "ILL")
)  # fmt: skip
# 32 and 33 are the C library's.
PASSED = tuple(
    number for number in (*range(1, 32), *range(int(_signal.SIGRTMIN), int(_signal.SIGRTMAX) + 1))
    if number not in _OWN
)  # fmt: skip

# What `gocker run` passes on; the others stop its run, dependencies included.
NOT_OURS = tuple(
    number for number in PASSED if number not in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP)
)


class Signals:
    """A descriptor from which the signals come, each once and in their order.

    Args:
        more: further signals to catch (SIGWINCH).
    """

    def __init__(self, *more: int) -> None:
        self._numbers = (*PASSED, *more)
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _signal.set_wakeup_fd(self._write)
        for number in self._numbers:
            self._before[number] = _signal.signal(number, lambda *_: None)
        signals.release()
        return self

    def __exit__(self, *_: object) -> None:
        signals.hold()
        for number, handler in self._before.items():
            _signal.signal(number, _signal.SIG_DFL if handler is None else handler)
        _signal.set_wakeup_fd(-1)
        os.close(self._read)
        os.close(self._write)
        signals.release()

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._read

    def read(self) -> list[int]:
        """Return the signals that have come."""
        try:
            return list(os.read(self._read, 4096))
        except BlockingIOError:
            return []
