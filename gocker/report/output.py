"""Container output on stdout: ``name | line``, fast, and harmless to a terminal.

A redirected stdout gets the container's bytes unchanged, each line after its prefix: it is data.
On a terminal only colours (SGR) pass, since the bytes come from an untrusted program; a lone
carriage return becomes a line, because it would overwrite the prefix. ``--raw`` lifts that.
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections import deque

from gocker.events import timestamp
from gocker.report.human import safe, safe_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


# A longer line is cut, so that a program that never writes a newline cannot fill our memory.
# The cut is only in the prefixed view; the container's log file has the line whole.
MAX_LINE = 65536
# A pipe's reader left; a terminal was hung up; the descriptor was closed by our caller.
_READER_GONE = (errno.EPIPE, errno.EIO, errno.ENXIO, errno.EBADF)
_PLAIN = bytes(range(32, 127)) + b"\t\n"
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class Sink:
    """Writes to a descriptor and goes silent when its reader is gone. Does not own it.

    Silence is right here: ``gocker logs | head`` has to end quietly, and a run whose terminal
    was closed goes on; run.jsonl and the log files hold everything. Any other failure (a full
    disk) also ends the writing, and stays in `error` for the command to report at its end.
    """

    __slots__ = ("closed", "error", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.closed = False
        self.error: OSError | None = None

    def write(self, data: bytes) -> None:
        """Write all of `data`, waiting where the descriptor is non-blocking and full."""
        view = memoryview(data)
        while view and not self.closed:
            try:
                view = view[os.write(self.fd, view) :]
            except BlockingIOError:
                # Another program made the terminal or pipe that we share non-blocking.
                select.select((), (self.fd,), ())
            except OSError as err:
                self._fail(err)

    def _fail(self, err: OSError) -> None:
        self.closed = True
        if err.errno not in _READER_GONE:
            self.error = err

    def isatty(self) -> bool:
        """Return whether a terminal is at the other end."""
        try:
            return os.isatty(self.fd)
        except OSError:
            return False


class QueueSink(Sink):
    """A sink for the scheduler's loop: it never waits, so no timeout is late for a slow reader.

    What the reader does not take is kept. While `pending` is not 0 the loop watches `fd` for
    room and calls `pump`; above its own bound it stops reading the containers' output, whose
    writers then wait.
    """

    __slots__ = ("_poll", "_queue", "pending")

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._queue: deque[memoryview] = deque()
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self.pending = 0

    def write(self, data: bytes) -> None:
        """Keep `data` and write what fits now."""
        if not self.closed:
            self._queue.append(memoryview(data))
            self.pending += len(data)
            self.pump()

    def pump(self) -> None:
        """Write while there is room.

        A pipe that is writable takes PIPE_BUF bytes without blocking (pipe(7)), so O_NONBLOCK,
        which everyone who shares our stdout would get, is not needed.
        """
        while self._queue and not self.closed and self._poll.poll(0):
            view = self._queue[0]
            try:
                written = os.write(self.fd, view[: select.PIPE_BUF])
            except BlockingIOError:
                return
            except OSError as err:
                self._fail(err)
                break
            self.pending -= written
            if written == len(view):
                self._queue.popleft()
            else:
                self._queue[0] = view[written:]
        if self.closed:
            self._queue.clear()
            self.pending = 0

    def flush(self) -> None:
        """Write all that is kept, waiting for the reader; for the end of the command."""
        while self._queue:
            super().write(bytes(self._queue.popleft()))
        self.pending = 0


class Prefixer:
    """One container's output, as whole lines, each after its name.

    Args:
        name: of the instance; "" for no prefix.
        width: columns to fill the name up to, so that the bars of all containers align.
        colour: index of the container for a coloured prefix, None for none.
        timestamps: put the time of arrival before each line.
        clean: take out everything but colours; for terminals.
        mask: hides secret values in whole lines.
        defuse: takes out what the reader of the lines would obey, with `clean`.
    """

    def __init__(
        self,
        sink: Sink,
        name: str,
        width: int = 0,
        *,
        colour: int | None = None,
        timestamps: bool = False,
        clean: bool = False,
        mask: Callable[[bytes], bytes] | None = None,
        defuse: Callable[[str], str] | None = None,
    ) -> None:
        self._write = sink.write
        prefix = f"{safe(name):<{width}} | " if name else ""
        if prefix and colour is not None:
            prefix = f"\x1b[{_COLOURS[colour % len(_COLOURS)]}m{prefix}\x1b[0m"
        self._prefix = prefix.encode()
        self._timestamps = timestamps
        self._clean = clean
        self._mask = mask
        self._defuse = defuse
        # Standard output and error are different streams: half a line of one must not be
        # finished with half a line of the other.
        self._partial: dict[int, bytes] = {}

    def feed(self, chunk: bytes, stream: int = 1) -> None:
        """Take the next bytes of a stream (1 or 2) and write the lines that are complete."""
        partial = self._partial.get(stream, b"")
        end = chunk.rfind(b"\n") + 1
        if end:
            self._lines(partial + chunk[: end - 1])
            partial = chunk[end:]
        else:
            partial += chunk
        while len(partial) > MAX_LINE:
            self._lines(partial[:MAX_LINE])
            partial = partial[MAX_LINE:]
        self._partial[stream] = partial

    def close(self) -> None:
        """Write what is left of the streams, ended with a newline."""
        for partial in self._partial.values():
            if partial:
                self._lines(partial)
        self._partial.clear()

    def _lines(self, block: bytes) -> None:
        """Write `block`, lines without the last newline."""
        if self._mask is not None:
            block = self._mask(block)
        if self._clean:
            block = _clean(block, self._defuse)
        prefix = self._prefix
        if self._timestamps:
            prefix = f"{timestamp(time.time())} ".encode() + prefix
        if prefix:
            block = block.replace(b"\n", b"\n" + prefix)
        self._write(prefix + block + b"\n")


def _clean(block: bytes, defuse: Callable[[str], str] | None) -> bytes:
    if defuse is None and not block.translate(None, _PLAIN):
        return block
    text = block.decode("utf-8", "replace").replace("\r\n", "\n").removesuffix("\r")
    text = safe_output(text.replace("\r", "\n"))
    if defuse is not None:
        text = defuse(text)
    if "\x1b" in text:
        # A colour that is left on would run into the next container's prefix.
        text = text.replace("\n", "\x1b[0m\n") + "\x1b[0m"
    return text.encode()
