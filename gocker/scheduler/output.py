"""Containers' output: pipes in, raw log files and prefixed lines out."""

from __future__ import annotations

import _socket as socket
import os
import re
import selectors

from gocker.errors import HostError, remedy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from gocker.scheduler.surroundings import Queue

    class Feed(Protocol):
        """What takes a container's output for the terminal: `gocker.report.output.Prefixer`."""

        def feed(self, chunk: bytes, stream: int = 1) -> None:
            """Take the next bytes of stream 1 or 2."""

        def close(self) -> None:
            """Write what is left."""


_CHUNK = 1 << 16
# Output that waits for the terminal's or the pipe's reader, in bytes.
MOST_PENDING = 8 << 20


class Terminal:
    """The writers to standard output and error, in the loop's selector.

    Args:
        pause: called with True while so much waits for their readers that the containers have to
            wait, too; with False when they may go on.
    """

    def __init__(
        self, selector: selectors.BaseSelector, sinks: Sequence[Queue],
        pause: Callable[[bool], None],
    ) -> None:  # fmt: skip
        self._selector = selector
        self._sinks = sinks
        self._pause = pause
        self._paused = False
        self._waiting: set[int] = set()

    def watch(self) -> None:
        """Ask for writability of a sink only while it has something to write."""
        pending = 0
        for sink in self._sinks:
            pending += sink.pending
            waiting = sink.fd in self._waiting
            if bool(sink.pending) == waiting:
                continue
            try:
                if waiting:
                    self._selector.unregister(sink.fd)
                    self._waiting.discard(sink.fd)
                else:
                    self._selector.register(sink.fd, selectors.EVENT_WRITE, sink.pump)
                    self._waiting.add(sink.fd)
            except PermissionError:
                sink.pump()  # a regular file: epoll refuses it, and it never has to wait
        if self._paused or pending > MOST_PENDING:
            self._paused = pending > MOST_PENDING // 2
            self._pause(self._paused)


class Watch:
    """Looks for a line in a container's output, once.

    Args:
        pattern: a regular expression that the line has to contain.
        found: called with the line.
    """

    # Of a longer line only the beginning counts: a pattern may take the square of its length.
    MAX_LINE = 4096

    __slots__ = ("_done", "_found", "_partial", "_search")

    def __init__(self, pattern: str, found: Callable[[str], None]) -> None:
        self._search = re.compile(pattern).search
        self._found = found
        # Standard output and error are different streams.
        self._partial: dict[int, bytes] = {}
        self._done = False

    def feed(self, chunk: bytes, stream: int) -> None:
        """Take the next bytes of stream 1 or 2."""
        if self._done:
            return
        *lines, last = (self._partial.get(stream, b"") + chunk).split(b"\n")
        self._partial[stream] = last[: self.MAX_LINE]
        for line in lines:
            text = line[: self.MAX_LINE].decode("utf-8", "replace").removesuffix("\r")
            if self._search(text) is not None:
                self._done = True
                self._found(text)
                return


class Streams:
    """The two pipes of one container, or its terminal. Owns our ends and the log's descriptor.

    `input_fd` is what its standard input is written to: the terminal's master, a pipe, or -1.

    The log is opened with the first output: making a file costs more than most of a start. What
    it cannot take (a full disk) is counted in `lost`, the reason in `loss`, what to do about it in
    `remedy`: a job does not end because its log does.
    """

    __slots__ = (
        "_feed", "_log_fd", "_make_feed", "_on_end", "_open", "_open_log", "_paused", "_selector",
        "_socket", "input_fd", "loss", "lost", "on_input", "remedy", "taps", "watch",
    )  # fmt: skip

    def __init__(
        self, selector: selectors.BaseSelector, open_log: Callable[[], int],
        feed: Callable[[], Feed | None], on_end: Callable[[], None],
    ) -> None:  # fmt: skip
        self._selector = selector
        self._open_log = open_log
        self._log_fd = -1
        self._feed: Feed | None = None
        self._make_feed: Callable[[], Feed | None] | None = feed
        self._on_end = on_end
        self._open: dict[int, int] = {}
        self._paused = False
        self.watch: Watch | None = None
        # Further readers, who came later.
        self.taps: list[Feed] = []
        self.lost = 0
        self.loss = ""
        self.remedy: str | None = None
        self.input_fd = -1
        # Called when `input_fd` is there.
        self.on_input: Callable[[], None] | None = None
        self._socket: socket.socket | None = None

    def stdio(
        self, stdin: Callable[[], int], *, terminal: bool, stdin_open: bool
    ) -> tuple[int, ...]:  # fmt: skip
        """Return what the container reads and writes, the caller's own.

        A socket for its terminal's master, or three descriptors; `stdin` gives the first of
        them, unless it stays open.
        """
        if terminal:
            return (self._console(),)
        fds: list[int] = []
        try:
            fds.append(self._open_stdin() if stdin_open else stdin())
            fds.append(self.pipe(1))
            fds.append(self.pipe(2))
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise
        return tuple(fds)

    def copies(self) -> dict[str, int]:
        """Return copies of what is read and written, by role; the caller's own.

        For who goes on when we cannot: see `resumed`, and `gocker.runtime.holding`.
        """
        if self._log_fd < 0:
            self._log_fd = self._open_log()
        found = {"log": os.dup(self._log_fd)}
        for fd, stream in self._open.items():
            if self._socket is None:
                role = "tty" if fd == self.input_fd else ("out", "err")[stream - 1]
                found[role] = os.dup(fd)
        if self.input_fd >= 0 and not self.is_terminal:
            found["in"] = os.dup(self.input_fd)
        return found

    def resumed(self, fds: dict[str, int]) -> None:
        """Read on where another process has read; own the descriptors that `copies` gave it."""
        self._log_fd = fds.get("log", -1)
        for role, stream in (("out", 1), ("err", 2), ("tty", 1)):
            if role in fds:
                self._open[fds[role]] = stream
                self._register(fds[role])
        self.input_fd = fds.get("tty", fds.get("in", -1))

    def _console(self) -> int:
        """Make the socket through which a terminal comes; return its other end, the caller's.

        Its output is one stream, 1.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        self._register(ours.fileno())
        self._socket = ours
        self._open[ours.fileno()] = 1
        return theirs.detach()

    def _receive(self, fd: int, sock: socket.socket) -> None:
        """Take the terminal's master; there is none if the container could not start."""
        from gocker.terminal import receive_master

        try:
            master = receive_master(sock)
        except BlockingIOError:
            return
        sock.detach()
        self._socket = None
        if master is None:
            self._end(fd)
            return
        if not self._paused:
            self._selector.unregister(fd)
        os.close(fd)
        del self._open[fd]
        os.set_blocking(master, False)
        self._open[master] = 1
        if not self._paused:
            self._register(master)
        self.input_fd = master
        if self.on_input is not None:
            self.on_input()

    def _open_stdin(self) -> int:
        """Make a pipe for standard input that stays open; return its read end, the caller's."""
        read, self.input_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.input_fd, False)
        if self.on_input is not None:
            self.on_input()
        return read

    @property
    def is_terminal(self) -> bool:
        """Whether `input_fd` is a terminal's master, which is read, too."""
        return self.input_fd in self._open

    def end_stdin(self) -> None:
        """End the pipe of standard input."""
        if self.input_fd >= 0 and self.input_fd not in self._open:
            os.close(self.input_fd)
            self.input_fd = -1

    def pipe(self, stream: int) -> int:
        """Make the pipe of a stream (1 or 2); return its write end, which the caller owns."""
        read, write = os.pipe2(os.O_CLOEXEC)
        try:
            os.set_blocking(read, False)
            self._register(read)
        except BaseException:
            os.close(read)
            os.close(write)
            raise
        self._open[read] = stream
        return write

    def _register(self, fd: int) -> None:
        self._selector.register(fd, selectors.EVENT_READ, lambda: self._read(fd))

    def abandon(self) -> None:
        """Close the pipes: the container could not be started, nobody writes to them."""
        self.pause()
        if self._socket is not None:
            self._socket.detach()  # one of those below
            self._socket = None
        self.end_stdin()
        for fd in self._open:
            os.close(fd)
        self._open.clear()
        self.input_fd = -1

    def pause(self) -> None:
        """Stop reading: once its pipes are full, the container waits."""
        if not self._paused:
            self._paused = True
            for fd in self._open:
                self._selector.unregister(fd)

    def resume(self) -> None:
        """Read again."""
        if self._paused:
            self._paused = False
            for fd in self._open:
                self._register(fd)

    @property
    def ended(self) -> bool:
        """Whether all output has arrived."""
        return not self._open

    def _read(self, fd: int) -> None:
        if fd not in self._open:
            return  # drained by an earlier event of the same turn
        if self._socket is not None:
            self._receive(fd, self._socket)
            return
        try:
            chunk = os.read(fd, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""  # EIO of a terminal: nobody has it open any more
        if chunk:
            self._take(chunk, self._open[fd])
        else:
            self._end(fd)

    def _take(self, chunk: bytes, stream: int) -> None:
        if self._make_feed is not None:
            self._feed = self._make_feed()
            self._make_feed = None
        if self._feed is not None:
            self._feed.feed(chunk, stream)
        self._store(chunk)
        for tap in self.taps:
            tap.feed(chunk, stream)
        if self.watch is not None:
            self.watch.feed(chunk, stream)

    def _store(self, rest: bytes) -> None:
        try:
            if self._log_fd < 0:
                self._log_fd = self._open_log()
            while rest:
                rest = rest[os.write(self._log_fd, rest) :]
        except (OSError, HostError) as error:
            self.lost += len(rest)
            self.loss = (error.strerror if isinstance(error, OSError) else None) or str(error)
            self.remedy = remedy(error.errno) if isinstance(error, OSError) else error.hint

    def _end(self, fd: int) -> None:
        if not self._paused:
            self._selector.unregister(fd)
        if fd == self.input_fd:
            self.input_fd = -1
        os.close(fd)
        del self._open[fd]
        if not self._open:
            self.end_stdin()
            if self._feed is not None:
                self._feed.close()
            if self._log_fd >= 0:
                os.close(self._log_fd)
            self._on_end()

    def drain(self) -> None:
        """Take what is in the pipes now and end them: the container is gone."""
        if self._socket is not None:
            self._receive(self._socket.fileno(), self._socket)
        for fd, stream in list(self._open.items()):
            try:
                while chunk := os.read(fd, _CHUNK):
                    self._take(chunk, stream)
            except OSError:
                # A process outside holds the write end: not the container's any more. Or EIO: a
                # terminal's last user is gone.
                pass
            self._end(fd)
