"""Starts that failed for want of descriptors, processes or memory, to be tried again.

Something is freed when a container ends, so then the first one is tried; and after a pause that
doubles, since others share the machine. What is still short after `TRIES` pauses in which nothing
ended is an error.
"""

from __future__ import annotations

import os
from collections import deque
from errno import EAGAIN, EMFILE, ENFILE, ENOMEM

from gocker.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.scheduler.messages import Start

TRIES = 6
FIRST_PAUSE_S = 0.05
# Descriptors that the loop needs for itself: a log is opened through three directories.
RESERVE = 16
_SHORT = (EAGAIN, EMFILE, ENFILE, ENOMEM)
# Of a container's first process only these are the launcher's own doing.
_OURS = (None, "cgroup", "start")


class Shortage:
    """The starts that wait. Pure but for the limit of descriptors, read once."""

    def __init__(self) -> None:
        self._waiting: deque[Start] = deque()
        self._tries = 0
        self._again = 0.0
        self._most_fds = os.sysconf("SC_OPEN_MAX")

    def check(self, highest_fd: int, containers: int) -> None:
        """Refuse a start after which running containers could not open their logs.

        Args:
            highest_fd: the last descriptor opened; the kernel gives the lowest that is free.
            containers: how many run, each with a log that may still be to be opened.

        Raises:
            HostError: with errno EMFILE.
        """
        if highest_fd + containers + RESERVE > self._most_fds:
            raise HostError(
                f"no descriptors for a container beside {containers} others: the limit of open "
                f"files is {self._most_fds}",
                hint="raise it: ulimit -n", errno=EMFILE,
            )  # fmt: skip

    def postpone(self, command: Start, error: dict[str, Any], now: float) -> bool:
        """Keep a start that failed, if it may succeed later; False if it is to fail for good."""
        if not is_short(error) or self._tries >= TRIES:
            return False
        if not self._waiting:
            self._pause(now)
        self._waiting.append(command)
        return True

    def forget(self, unit: str, attempt: int) -> bool:
        """Take a start out that is not wanted any more; return whether it waited."""
        for command in self._waiting:
            if (command.unit, command.attempt) == (unit, attempt):
                self._waiting.remove(command)
                return True
        return False

    def freed(self, now: float) -> None:
        """A container has ended: the first start that waits is due."""
        self._tries = 0
        if self._waiting:
            self._again = now

    def deadline(self) -> float | None:
        """Return when to ask `due`, or None."""
        return self._again if self._waiting else None

    def due(self, now: float) -> list[Start]:
        """Return the starts to try now: one, since each may be short again."""
        if not self._waiting or now < self._again:
            return []
        self._tries += 1
        self._pause(now)
        return [self._waiting.popleft()]

    def _pause(self, now: float) -> None:
        self._again = now + FIRST_PAUSE_S * 2**self._tries


def is_short(error: dict[str, Any]) -> bool:
    """Return whether an error on the wire is a shortage that may pass."""
    context = error.get("context", {})
    if context.get("phase") not in _OURS:
        return False
    if error.get("errno", context.get("errno")) in _SHORT:
        return True
    return "cause" in error and is_short(error["cause"])
