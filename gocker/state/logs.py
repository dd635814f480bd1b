"""Read the raw logs of a run's containers: all, the last lines, or as they grow."""

from __future__ import annotations

import os
import stat
import time

from gocker.errors import HostError
from gocker.state.directory import DIRECTORY, list_names
from gocker.state.names import instance_of, log_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from gocker.state.run import Run


_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BLOCK = 1 << 16
_TICK_S = 0.1

# Instance, attempt, and the next bytes of its log.
Chunk = tuple[str, int, bytes]


def read_logs(
    run: Run,
    instances: Collection[str] | None = None,
    *,
    tail: int | None = None,
    follow: bool = False,
) -> Iterator[Chunk]:
    """Yield the output of a run's containers, file by file, then as it grows.

    Following looks at the files every 100 ms, and ends when nobody holds the run any more.
    The front has no inotify (ctypes is the back's), and a file's growth wakes no poll(2); the
    tick exists only while somebody watches.

    Args:
        run: whose logs.
        instances: the ones wanted, None for all.
        tail: start with the last lines of each log, None for the whole.
        follow: go on until the run has ended.

    Raises:
        HostError: if the run has no logs.
    """
    with Logs(run, instances, tail) as logs:
        while follow:
            # Asked before reading: what the last container wrote is then read below.
            if not run.alive():
                break
            yield from logs.read()
            # From now on a new file is a new container, wanted whole.
            logs.tail = None
            time.sleep(_TICK_S)
        yield from logs.read()


class Logs:
    """The open log files of a run. Owns its descriptors.

    `tail`: start with the last lines of each log, None for the whole.
    """

    def __init__(self, run: Run, instances: Collection[str] | None, tail: int | None) -> None:
        with run.opened() as fd:
            try:
                self._dir = os.open("logs", DIRECTORY, dir_fd=fd)
            except OSError as err:
                raise HostError(f"run {run.id} has no logs: {err.strerror}") from err
        self._instances = instances
        self._files: dict[str, int] = {}
        self.tail = tail

    def __enter__(self) -> Logs:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (*self._files.values(), self._dir):
            os.close(fd)

    def skip(self) -> None:
        """Pass over what is there now; what comes later is wanted whole."""
        self.tail = 0
        for _ in self.read():
            pass
        self.tail = None

    def read(self) -> Iterator[Chunk]:
        """Yield what is new since the last call."""
        for name in list_names(self._dir):
            owner = instance_of(name)
            if owner is None or (self._instances is not None and owner[0] not in self._instances):
                continue
            fd = self._files.get(name)
            if fd is None:
                fd = self._open(name)
                if fd is None:
                    continue
            while chunk := os.read(fd, _BLOCK):
                yield (*owner, chunk)

    def _open(self, name: str) -> int | None:
        """Open a log at its start or at its last lines; None for what is no regular file."""
        try:
            fd = os.open(name, _READ, dir_fd=self._dir)
        except OSError:
            return None  # a link in the place of a log is nothing of ours to show
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            return None
        self._files[name] = fd
        if self.tail is not None:
            os.lseek(fd, tail_offset(fd, self.tail), os.SEEK_SET)
        return fd


def remove_logs(run: Run, instances: Collection[str]) -> int:
    """Remove the logs of instances that are over; return how many there were."""
    removed = 0
    with run.opened() as fd:
        try:
            logs_fd = os.open("logs", DIRECTORY, dir_fd=fd)
        except OSError:
            return 0  # damaged, or removed already
        try:
            for name in list_names(logs_fd):
                owner = instance_of(name)
                if owner is not None and owner[0] in instances:
                    os.unlink(name, dir_fd=logs_fd)
                    removed += 1
        finally:
            os.close(logs_fd)
    return removed


def last_lines(
    run: Run, instance: str, attempt: int, lines: int, most_bytes: int = _BLOCK
) -> bytes:
    """Return the end of a container's log; nothing if it has none."""
    with run.opened() as fd:
        try:
            log = os.open(f"logs/{log_name(instance, attempt)}", _READ, dir_fd=fd)
        except FileNotFoundError:
            return b""  # it wrote nothing
        except OSError as err:
            raise HostError(f"cannot read the log of {instance!r}: {err.strerror}") from err
    try:
        end = os.fstat(log).st_size
        start = max(tail_offset(log, lines), end - most_bytes)
        return os.pread(log, end - start, start)
    finally:
        os.close(log)


def whole(run: Run, instance: str, attempt: int) -> Iterator[bytes]:
    """Yield a container's log, block by block; nothing if it has none.

    Raises:
        HostError: if it cannot be read.
    """
    with run.opened() as fd:
        try:
            log = os.open(f"logs/{log_name(instance, attempt)}", _READ, dir_fd=fd)
        except FileNotFoundError:
            return  # it wrote nothing
        except OSError as err:
            raise HostError(f"cannot read the log of {instance!r}: {err.strerror}") from err
    with open(log, "rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            yield block


def tail_offset(fd: int, lines: int) -> int:
    """Return where the last `lines` lines of a file begin, reading only its end."""
    position = os.fstat(fd).st_size
    if lines <= 0 or position == 0:
        return position
    # The newline at the very end closes the last line and begins none.
    wanted = lines + (os.pread(fd, 1, position - 1) == b"\n")
    while position > 0:
        start = max(0, position - _BLOCK)
        block = os.pread(fd, position - start, start)
        found = block.count(b"\n")
        if found >= wanted:
            at = len(block)
            for _ in range(wanted):
                at = block.rfind(b"\n", 0, at)
            return start + at + 1
        wanted -= found
        position = start
    return 0
