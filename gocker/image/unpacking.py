"""Runs the processes that unpack layers: their requests, reports and ends.

A process is isolated like the launcher (``-I -S``, an empty environment) and unpacks gzip itself.
zstd, which the standard library has not before Python 3.14, is unpacked here and given to it
through a pipe.
"""

from __future__ import annotations

import _socket
import json
import os
import signal
import sys
import threading

from gocker.errors import HostError, from_wire
from gocker.image.document import wrong
from gocker.wire import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from gocker.image.limits import Limits

    Report = dict[str, Any]

_CODE = "import sys; sys.path.insert(0, {root!r}); from gocker.runtime.{module} import main; main()"
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_ZSTD = b"\x28\xb5\x2f\xfd"
_CHUNK = 1 << 18
# "zstd --long=27"; what needs more memory says so, and is refused (RFC 8878, 3.1.1.1.2).
_MOST_WINDOW = 1 << 27


class Worker:
    """A process that unpacks one layer after the other. Owns it and the connection to it."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise HostError("unpacking an image takes root", hint="run gocker as root")
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        os.set_inheritable(theirs.fileno(), True)
        try:
            self.pid = _spawn("unpack", str(theirs.fileno()))
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._connection = Connection(ours)

    def unpack(
        self, blob_fd: int, directory: str, lower: Sequence[str], limits: Limits, *, bottom: bool
    ) -> Report:
        """Unpack a blob into an empty directory; return the report of `gocker.runtime.unpack`.

        Raises:
            HostError: why it cannot be; what is in the directory is worth nothing then.
        """
        zstd = os.pread(blob_fd, 4, 0) == _ZSTD
        options = {
            "op": "unpack", "directory": directory, "lower": list(lower), "bottom": bottom,
            "limits": limits.to_json(), "packed": os.fstat(blob_fd).st_size if zstd else 0,
        }  # fmt: skip
        os.lseek(blob_fd, 0, os.SEEK_SET)
        if not zstd:
            self._send(options, blob_fd)
            return self._answer()
        source, feed_fd = os.pipe()
        try:
            self._send(options, source)
        except BaseException:
            os.close(feed_fd)
            raise
        finally:
            os.close(source)
        _feed(blob_fd, feed_fd)
        return self._answer()

    def sync(self, path: str) -> None:
        """Return when the file system of `path` is written to the disk.

        Raises:
            HostError: if it cannot be.
        """
        self._send({"op": "sync", "path": path})
        self._answer()

    def _send(self, message: Report, *fds: int) -> None:
        try:
            self._connection.send(message, fds)
        except OSError as error:
            raise _gone() from error

    def _answer(self) -> Report:
        try:
            received = self._connection.receive()
        except OSError as error:
            raise _gone() from error
        if received is None:
            raise _gone()
        report = received[0]
        if "error" in report:
            raise from_wire(report["error"])
        return report

    def kill(self) -> None:
        """End the process now, and what it has started with it."""
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let the process end, and wait for it."""
        self._connection.close()
        os.waitpid(self.pid, 0)


class Workers:
    """A worker for each thread that wants one; `kill` ends them all."""

    def __init__(self) -> None:
        self._all: list[Worker] = []
        self._local = threading.local()
        self._lock = threading.Lock()
        self._closed = False

    def mine(self) -> Worker:
        """Return this thread's worker."""
        found: Worker | None = getattr(self._local, "worker", None)
        if found is None:
            with self._lock:
                if self._closed:
                    raise HostError("interrupted")
                found = self._local.worker = Worker()
                self._all.append(found)
        return found

    def kill(self) -> None:
        """End all workers; no further one starts."""
        with self._lock:
            self._closed = True
            for worker in self._all:
                worker.kill()

    def close(self) -> None:
        """Wait for the end of all workers."""
        with self._lock:
            self._closed = True
            for worker in self._all:
                worker.close()
            self._all.clear()


def _gone() -> HostError:
    return HostError(
        "the process that unpacks layers was killed", hint="see the kernel's log (dmesg)"
    )


def _spawn(module: str, *arguments: str, actions: Sequence[tuple[int, int, int]] = ()) -> int:
    """Start a process that runs a module of the back; return its PID."""
    code = _CODE.format(root=_ROOT, module=module)
    command = [sys.executable, "-I", "-S", "-c", code, *arguments]
    try:
        # A group of its own: Ctrl-C goes to the front alone.
        return os.posix_spawn(sys.executable, command, {}, file_actions=actions, setpgroup=0)
    except OSError as error:
        raise HostError(f"cannot start {sys.executable!r}: {error.strerror}") from error


def copy_up(lower: Sequence[str], path: str, target: str) -> bool:
    """Copy a directory of an image into an empty volume; return whether there was one.

    Args:
        lower: the image's layers, topmost first.
        path: of the directory in the image.
        target: the volume's directory.

    Raises:
        HostError: if it cannot be copied.
    """
    relative = path.strip("/")
    if not any(os.path.lexists(os.path.join(layer, relative)) for layer in lower):
        # Not even a link on the way: most volumes have nothing in the image.
        parent = os.path.dirname(relative)
        if not parent or not any(os.path.islink(os.path.join(it, parent)) for it in lower):
            return False
    report_fd, theirs = os.pipe()
    try:
        options = {"lower": list(lower), "path": path, "target": target}
        actions = [(os.POSIX_SPAWN_DUP2, theirs, 1)]
        pid = _spawn("copyup", json.dumps(options), actions=actions)
    finally:
        os.close(theirs)
    with open(report_fd, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    copied: bool = _report(data)["copied"]
    return copied


def _report(data: bytes) -> Report:
    if not data:
        raise HostError(
            "a process that writes an image's files was killed", hint="see the kernel's log (dmesg)"
        )
    report: Report = json.loads(data.decode("utf-8", "surrogateescape"))
    if "error" in report:
        raise from_wire(report["error"])
    return report


def _feed(blob_fd: int, fd: int) -> None:
    """Write the uncompressed content of a zstd blob to a pipe, and close it."""
    with open(fd, "wb", buffering=0) as pipe:
        try:
            for data in _zstd(blob_fd):
                view = memoryview(data)
                while view:
                    view = view[pipe.write(view) or 0 :]
        except BrokenPipeError:
            pass  # it has seen enough, and its report says why


def _zstd(blob_fd: int) -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise HostError(
            "a layer is compressed with zstd", hint="pip install 'gocker[images]'"
        ) from error
    machine = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW)
    with open(os.dup(blob_fd), "rb") as file:
        try:
            with machine.stream_reader(file, read_size=_CHUNK, read_across_frames=True) as reader:
                while data := reader.read(_CHUNK):
                    yield data
        except zstandard.ZstdError as error:
            raise wrong(f"zstd: {error}") from error
