"""Our standard descriptors for a program in a container, where it gets no terminal.

Pipes and files are passed on as they are: nothing is copied. Our terminal never is (it could be
typed into from the container, CVE-2017-5226): it is copied through a pipe.
"""

from __future__ import annotations

import os
import select

from gocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

_CHUNK = 1 << 16


class Pipes:
    """Descriptors 0 to 2. Has the interface of `gocker.cli.console.Console`."""

    def __init__(self, *, detached: bool = False) -> None:
        self._detached = detached
        self._given: list[int] = []
        # Read end -> (write end, bytes that wait).
        self._copies: dict[int, tuple[int, bytes]] = {}
        self._own: set[int] = set()

    def stdio(self) -> tuple[int, ...]:
        """Return what is passed for the program."""
        return tuple(self._one(fd) for fd in range(3))

    def _one(self, fd: int) -> int:
        if self._detached or not _is_open(fd):
            return self._mine(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
        if not os.isatty(fd):
            return fd
        read, write = os.pipe2(os.O_CLOEXEC)
        if fd == 0:
            os.set_blocking(write, False)
            self._copies[0] = (write, b"")
            self._own.add(write)
            return self._mine(read)
        os.set_blocking(read, False)
        self._copies[read] = (fd, b"")
        self._own.add(read)
        return self._mine(write)

    def _mine(self, fd: int) -> int:
        self._given.append(fd)
        return fd

    def passed(self) -> None:
        """Let go of what `stdio` returned: it has been sent."""
        while self._given:
            os.close(self._given.pop())

    def wanted(self) -> dict[int, int]:
        """Return what to wait for: descriptors and their poll(2) masks."""
        found: dict[int, int] = {}
        for source, (target, data) in self._copies.items():
            if data:
                found[target] = select.POLLOUT
            else:
                found[source] = select.POLLIN
        return found

    def ready(self, fd: int, events: int) -> None:  # noqa: ARG002  # Console tells them apart
        """Move what can be moved without waiting."""
        for source, (target, data) in list(self._copies.items()):
            if fd == source and not data:
                self._read(source, target)
            elif fd == target and data:
                self._write(source, target, data)

    def _read(self, source: int, target: int) -> bool:
        """Read once; False if there is nothing (more)."""
        try:
            data = os.read(source, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if data:
            self._copies[source] = (target, data)
        else:
            self._end(source)
        return bool(data)

    def _write(self, source: int, target: int, data: bytes) -> None:
        try:
            # What fits without waiting once the descriptor is writable (pipe(7)).
            written = os.write(target, data[: select.PIPE_BUF])
        except BlockingIOError:
            return
        except OSError:
            self._end(source)  # the reader is gone
            return
        self._copies[source] = (target, data[written:])

    def _end(self, source: int) -> None:
        target, _ = self._copies.pop(source)
        for fd in (source, target):
            if fd in self._own:
                os.close(fd)
                self._own.remove(fd)

    def drain(self) -> None:
        """Show what the program wrote before it ended; waits for our own reader."""
        for source in list(self._copies):
            if source == 0:
                self._end(0)
            while source in self._copies:
                target, data = self._copies[source]
                if not data and not self._read(source, target):
                    break
                poll = select.poll()
                poll.register(target, select.POLLOUT)
                poll.poll()
                self._write(source, *self._copies[source])

    def close(self) -> None:
        """Close everything."""
        self.passed()
        for source in list(self._copies):
            self._end(source)


def wants_terminal(arguments: argparse.Namespace) -> bool:
    """Return whether the program gets a terminal: -t, -T, else whether we have one."""
    if arguments.tty and arguments.no_tty:
        raise UsageError("-t and -T contradict each other")
    return not arguments.no_tty and (bool(arguments.tty) or (os.isatty(0) and os.isatty(1)))


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
