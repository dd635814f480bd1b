"""The log of a run: every event to run.jsonl at once, and to the console when there is time.

``run.jsonl`` is written without structlog: one write(2) of one line per event, about 7 us, so
that neither a thousand containers wait for it nor a SIGKILL loses what was recorded. structlog
filters and renders the console's text. Its import costs 50 ms (it pulls asyncio and logging; 90
ms with rich), more than all the rest of a short run, so it waits for a moment in which nothing is
to be done. Until then this module does the same by itself.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from errno import EDQUOT, ENOSPC

from gocker import events, jsontext
from gocker.errors import HostError, remedy
from gocker.report.lines import Narrator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal

    from gocker.report.lines import Record
    from gocker.report.output import Sink
    from gocker.state.sync import Syncer

    Format = Literal["text", "json", "none"]


_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
# The first container runs, or none will: from here on a console may take its time.
_OPENERS = frozenset({"container.started", "run.interrupted", "run.finished"})
# Whoever is told these relies on them. What follows them is told after them.
_RESULTS = frozenset({
    "container.exited", "container.failed", "artifact.saved", "job.finished", "run.finished",
})  # fmt: skip
# Bytes of records that may wait for room on a full disk.
MOST_WAITING = 16 << 20
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_PAINT = {"info": "32", "warning": "33", "error": "1;31"}


def use_colour(option: str, environ: Mapping[str, str], isatty: bool) -> bool:
    """Decide on colours: --color, then FORCE_COLOR, NO_COLOR, a CI job's log, a terminal.

    Args:
        option: "auto", "always" or "never".
        environ: FORCE_COLOR and NO_COLOR count when not empty (no-color.org, force-color.org);
            FORCE_COLOR=0 is off, as in node's tools.
        isatty: whether the stream is a terminal.
    """
    if option != "auto":
        return option == "always"
    if force := environ.get("FORCE_COLOR"):
        return force not in ("0", "false")
    if environ.get("NO_COLOR"):
        return False
    if environ.get("GITHUB_ACTIONS") == "true" or environ.get("GITLAB_CI") == "true":
        return True
    return isatty and environ.get("TERM") != "dumb"


class Console:
    """Progress on stderr, as JSON lines or as text.

    Args:
        level: least level of text lines: "debug" shows limits, "warning" only trouble.
        width: columns for the names of instances.
    """

    def __init__(
        self,
        sink: Sink,
        fmt: Format = "text",
        *,
        colour: bool = False,
        level: str = "info",
        width: int = 0,
    ) -> None:
        self._sink = sink
        self._format = fmt
        self._colour = colour
        self._level = level
        self._width = width
        self._logger: Any = None
        self._begun = False
        self._waiting: list[Record] = []
        self._narrator = Narrator()

    def show(self, record: Record, line: bytes) -> None:
        """Show `record`; `line` is its JSON, with the newline."""
        if self._format == "json":
            self._sink.write(line)
        elif self._format == "text":
            if self._begun:
                self._say(record)
                return
            self._waiting.append(record)
            if record["event"] in _OPENERS:
                self.begin()

    def mute(self) -> None:
        """Show nothing from now on."""
        self.begin()
        self._format = "none"

    def open(self) -> None:
        """Import structlog: there is time for it."""
        if self._logger is None and self._format == "text":
            self._logger = self._make_logger()

    def begin(self) -> None:
        """Show the records that waited; later ones at once."""
        self._begun = True
        waiting, self._waiting = self._waiting, []
        for record in waiting:
            self._say(record)

    def _say(self, record: Record) -> None:
        line = self._narrator.line(record)
        if self._logger is not None:
            getattr(self._logger, line.level)(line.what, who=line.who, detail=line.detail)
        elif _LEVELS[line.level] >= _LEVELS[self._level]:
            fields = {"event": line.what, "who": line.who, "detail": line.detail}
            self._sink.write(self._render(None, line.level, fields).encode() + b"\n")

    def _make_logger(self) -> Any:
        structlog = _import_structlog()
        return structlog.wrap_logger(
            _Lines(self._sink),
            processors=[self._render],
            wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[self._level]),
        ).bind()  # without it, each call would bind anew

    def _render(self, _logger: object, method: str, fields: Mapping[str, Any]) -> str:
        what, who = fields["event"], fields["who"]
        paint = _PAINT.get(method) if self._colour else None
        status = f"\x1b[{paint}m{what:<9}\x1b[0m" if paint else f"{what:<9}"
        return f"{who:<{self._width}}  {status}  {fields['detail']}".rstrip()


def _import_structlog() -> Any:
    """Import structlog without rich, which it would import for tracebacks that we never show."""
    if "rich" in sys.modules:
        import structlog
    else:
        # None makes ``import rich`` an ImportError (import system, 5.3.1); taken back at once.
        sys.modules["rich"] = None  # type: ignore[assignment]  # typeshed knows modules only
        try:
            import structlog
        finally:
            del sys.modules["rich"]
    return structlog


class _Lines:
    """What structlog calls with a rendered line."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def info(self, line: str) -> None:
        self._sink.write(line.encode() + b"\n")

    debug = warning = error = info


class RunLog:
    """Writer of one run's ``run.jsonl``. Owns the descriptor; the only writer of the file.

    Args:
        path: of the file; made with mode 0600, never through a link.
        dir_fd: directory that a relative `path` starts from.
        durable: show what has become of a job only when it would survive a power cut; `settle`
            and `settled` have to be called then. Needs `dir_fd`.
        after: number of the last record that is there, of a log that is gone on with.

    Raises:
        HostError: if the file cannot be opened.
    """

    def __init__(
        self, path: str, run_id: str, project: str, console: Console, *,
        dir_fd: int | None = None, durable: bool = False, after: int = 0,
    ) -> None:  # fmt: skip
        try:
            self._fd = os.open(path, _FLAGS, 0o600, dir_fd=dir_fd)
        except OSError as err:
            raise HostError(f"cannot open {path!r}: {err.strerror}") from err
        os.fchmod(self._fd, 0o600)  # whatever the umask took
        self._size = os.fstat(self._fd).st_size
        self._path = path
        self._run_id = run_id
        self._project = project
        self._console = console
        self._seq = after
        # Records to be shown, and how many of them the call under way will make durable.
        self._unshown: deque[tuple[Record, bytes]] = deque()
        self._syncing = 0
        self._syncer: Syncer | None = None
        if durable and dir_fd is not None:
            from gocker.state.sync import Syncer

            self._syncer = Syncer(self._fd, dir_fd)
        # Lines that the disk has no room for, in their order.
        self._waiting: deque[bytes] = deque()
        self._waiting_size = 0

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and show what the console still holds.

        Raises:
            HostError: if records are left that the disk has no room for.
        """
        if self._fd >= 0:
            try:
                self._write_waiting()
                if self._syncer is not None:
                    self._syncer.close()
                self._show(len(self._unshown))
            finally:
                os.close(self._fd)
                self._fd = -1
                self._console.begin()
        self._console.begin()

    @property
    def settled_fd(self) -> int:
        """Descriptor that is readable when `settled` has something to do; -1 for none."""
        return -1 if self._syncer is None else self._syncer.fd

    def settle(self) -> None:
        """Begin to make durable what waits to be shown; costs nothing if nothing does."""
        if self._unshown and self._syncer is not None and not self._syncer.busy:
            self._syncing = len(self._unshown)
            self._syncer.begin()

    def settled(self) -> None:
        """Show what is durable now.

        Raises:
            HostError: if the disk refused.
        """
        if self._syncer is not None:
            self._syncer.finish()
            self._show(self._syncing)

    def catch_up(self) -> None:
        """Make durable and show what waits for it: soon nobody looks any more.

        Raises:
            HostError: if the disk refused.
        """
        if self._syncer is not None and self._syncer.busy:
            self.settled()
        self.settle()
        if self._syncer is not None and self._syncer.busy:
            self.settled()

    def _show(self, count: int) -> None:
        for _ in range(count):
            self._console.show(*self._unshown.popleft())

    def record(self, event: str, fields: dict[str, Any]) -> Record:
        """Append one event, whole or not at all, show it, and return it with its envelope.

        Raises:
            ValueError: if the event is unknown or its fields are not the declared ones.
            HostError: if the line cannot be written; the file stays valid. On a full disk only
                when as much waits as may: until then a record waits for room, as all after it.
        """
        events.check(event, fields)
        record = {
            "schema": events.SCHEMA_VERSION,
            "seq": self._seq + 1,
            "time": events.timestamp(time.time()),
            "monotonic": time.monotonic(),
            "event": event,
            "run.id": self._run_id,
            "project": self._project,
            **fields,
        }
        # ASCII only makes a line of any text: newlines, NUL, U+2028 and lone surrogates (a file
        # name's undecodable bytes) are escaped, and come back the same. NaN is not JSON.
        line = jsontext.dumps(record, allow_nan=False).encode() + b"\n"
        self._append(line)
        self._seq += 1
        if self._unshown or (event in _RESULTS and self._syncer is not None):
            self._unshown.append((record, line))
        else:
            self._console.show(record, line)
        return record

    def _append(self, line: bytes) -> None:
        if not self._waiting:
            try:
                self._write(line)
                return
            except HostError as err:
                if not _is_full(err) or self._waiting_size > MOST_WAITING:
                    raise
        self._waiting.append(line)
        self._waiting_size += len(line)
        try:
            self._write_waiting()
        except HostError as err:
            if not _is_full(err) or self._waiting_size > MOST_WAITING:
                raise

    def _write_waiting(self) -> None:
        while self._waiting:
            self._write(self._waiting[0])
            self._waiting_size -= len(self._waiting.popleft())

    def _write(self, line: bytes) -> None:
        """Write one line, whole or not at all."""
        try:
            written = os.write(self._fd, line)
            while written < len(line):
                written += os.write(self._fd, line[written:])
        except OSError as err:
            os.ftruncate(self._fd, self._size)  # a torn line would end the log for its readers
            raise HostError(
                f"cannot write {self._path!r}: {err.strerror}",
                hint=remedy(err.errno) or "the run needs its log",
            ) from err
        self._size += len(line)


def _is_full(error: HostError) -> bool:
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in (ENOSPC, EDQUOT)
