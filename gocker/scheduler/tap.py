"""A further reader of a container's output: its own descriptors, which nobody waits for."""

from __future__ import annotations

import os
import select
import selectors
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# What a slow reader may be behind; beyond it, it is let go and told how much it lost.
MAX_PENDING = 4 << 20


class Tap:
    """Copies of a command's standard output and error, fed from a container's. Owns them."""

    def __init__(self, selector: selectors.BaseSelector, out: int, err: int) -> None:
        self._pipes = {1: _Pipe(selector, os.dup(out)), 2: _Pipe(selector, os.dup(err))}
        self.lost = 0
        self.closed = False
        self.on_lost: Callable[[], None] | None = None

    def feed(self, chunk: bytes, stream: int = 1) -> None:
        """Take the next bytes of stream 1 or 2."""
        if self.closed:
            return
        pipe = self._pipes[stream]
        pipe.write(chunk)
        if pipe.pending > MAX_PENDING:
            self.lost = pipe.pending
            self.close()
            if self.on_lost is not None:
                self.on_lost()

    def end(self, done: Callable[[], None]) -> None:
        """Let go when the reader has taken everything, and say so."""
        if self.closed:
            return

        def drained() -> None:
            if not self.closed and not any(pipe.pending for pipe in self._pipes.values()):
                self.close()
                done()

        for pipe in self._pipes.values():
            pipe.on_empty = drained
        drained()

    def close(self) -> None:
        """Let go; what the reader does not take at once is lost."""
        if not self.closed:
            self.closed = True
            for pipe in self._pipes.values():
                pipe.close()


class _Pipe:
    def __init__(self, selector: selectors.BaseSelector, fd: int) -> None:
        self._selector = selector
        self._fd = fd
        self._queue: deque[memoryview] = deque()
        self._watched = False
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self.pending = 0
        self.on_empty: Callable[[], None] | None = None

    def write(self, chunk: bytes) -> None:
        self._queue.append(memoryview(chunk))
        self.pending += len(chunk)
        self._pump()

    def _pump(self) -> None:
        # As in report.output.QueueSink: PIPE_BUF bytes fit without O_NONBLOCK, which everybody
        # who shares the descriptor would get.
        while self._queue and self._poll.poll(0):
            view = self._queue[0]
            try:
                written = os.write(self._fd, view[: select.PIPE_BUF])
            except BlockingIOError:
                break
            except OSError:
                self._queue.clear()  # the reader is gone
                self.pending = 0
                break
            self.pending -= written
            if written == len(view):
                self._queue.popleft()
            else:
                self._queue[0] = view[written:]
        self._watch(bool(self._queue))
        if not self._queue and self.on_empty is not None:
            self.on_empty()

    def _watch(self, wanted: bool) -> None:
        if wanted == self._watched:
            return
        self._watched = wanted
        if wanted:
            self._selector.register(self._fd, selectors.EVENT_WRITE, self._pump)
        else:
            self._selector.unregister(self._fd)

    def close(self) -> None:
        self.on_empty = None
        self._pump()
        self._watch(wanted=False)
        os.close(self._fd)
