"""Runs the process that unpacks one layer: its descriptors, its end, its report.

The process is isolated like the launcher (``-I -S``, an empty environment) and unpacks gzip
itself. zstd, which the standard library has not before Python 3.14, is unpacked here and given
to it through a pipe.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import ExitStack

from gocker.errors import HostError, from_wire
from gocker.image.document import wrong

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


class Processes:
    """The processes that unpack now; `kill` ends them all."""

    def __init__(self) -> None:
        self._pids: set[int] = set()
        self._closed = False

    def run(
        self, blob_fd: int, directory: str, lower: Sequence[str], limits: Limits, *, bottom: bool
    ) -> Report:
        """Unpack a blob into an empty directory; return the report of `gocker.runtime.unpack`.

        Raises:
            HostError: why it cannot be; what is in the directory is worth nothing then.
        """
        zstd = os.pread(blob_fd, 4, 0) == _ZSTD
        packed = os.fstat(blob_fd).st_size if zstd else 0
        options = {
            "directory": directory, "lower": list(lower), "bottom": bottom,
            "limits": limits.to_json(), "packed": packed, "sync": True,
        }  # fmt: skip
        os.lseek(blob_fd, 0, os.SEEK_SET)
        with ExitStack() as stack:
            report_fd, theirs = os.pipe()
            stack.callback(os.close, report_fd)
            source, feed_fd = os.pipe() if zstd else (blob_fd, -1)
            pid = self._spawn(options, source, theirs)
            os.close(theirs)
            try:
                if zstd:
                    os.close(source)
                    _feed(blob_fd, feed_fd)
                data = b""
                while chunk := os.read(report_fd, _CHUNK):
                    data += chunk
            except BaseException:
                os.kill(pid, signal.SIGKILL)
                raise
            finally:
                os.waitpid(pid, 0)
                self._pids.discard(pid)
        return _report(data)

    def kill(self) -> None:
        """End all processes; no further one starts."""
        self._closed = True
        for pid in tuple(self._pids):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def _spawn(self, options: Report, source: int, report: int) -> int:
        if self._closed:
            raise HostError("interrupted")
        pid = _spawn("unpack", options, source, report)
        self._pids.add(pid)
        return pid


def _spawn(module: str, options: Report, source: int, report: int) -> int:
    """Start a process that runs a module of the back; return its PID."""
    if os.geteuid() != 0:
        raise HostError("unpacking an image takes root", hint="run gocker as root")
    code = _CODE.format(root=_ROOT, module=module)
    command = [sys.executable, "-I", "-S", "-c", code, json.dumps(options)]
    actions = [(os.POSIX_SPAWN_DUP2, source, 0), (os.POSIX_SPAWN_DUP2, report, 1)]
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
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        options = {"lower": list(lower), "path": path, "target": target}
        pid = _spawn("copyup", options, null, theirs)
    finally:
        os.close(null)
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
