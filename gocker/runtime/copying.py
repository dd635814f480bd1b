"""One side of a copy: a process that writes a tar stream of a path, or a path from one.

It stays on the host in every respect but one: in a container with a user namespace it is root of
that, so that owners are the container's and its power ends there. The container never sees it.
"""

from __future__ import annotations

import json
import os
import signal

from gocker import tar
from gocker.errors import GockerError, HostError
from gocker.linux import process
from gocker.runtime import userns
from gocker.runtime.copyin import Extractor
from gocker.runtime.copyout import Archiver
from gocker.runtime.failure import explain
from gocker.runtime.place import Place
from gocker.runtime.target import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.wire import Message


class Copy:
    """A process that copies. Owns its pidfd and status pipe; `wait` ends both."""

    __slots__ = ("pidfd", "status_fd")

    def __init__(self, message: Message, target: Target | None, stream_fd: int) -> None:
        """Start it.

        Args:
            message: ``path``, ``role`` (``out`` or ``in``) and the options of that.
            target: the container of the path; None is the host.
            stream_fd: of the tar stream; stays the caller's.
        """
        root = "/" if target is None else f"/proc/{target.pid}/root"
        root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.status_fd, status_fd = os.pipe2(os.O_CLOEXEC)
        try:
            if target is not None:
                target.verify()  # what was opened is its root
            pid, self.pidfd = process.clone3(process.CLONE_CLEAR_SIGHAND)
            if pid == 0:
                _run(message, target, root_fd, stream_fd, status_fd)
        except BaseException:
            os.close(self.status_fd)
            raise
        finally:
            os.close(root_fd)
            os.close(status_fd)

    def wait(self) -> dict[str, Any]:
        """Reap it, when it has ended; return ``skipped``, or ``error``."""
        data = b""
        while chunk := os.read(self.status_fd, 65536):
            data += chunk
        os.close(self.status_fd)
        os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        os.close(self.pidfd)
        if not data:  # SIGPIPE: the other side has ended, and says why
            return {"skipped": [], "broken": True}
        found: dict[str, Any] = json.loads(data)
        return found


def _run(
    message: Message, target: Target | None, root_fd: int, stream_fd: int, status_fd: int
) -> None:
    """Copy, and tell the outcome. Never returns."""
    answer: dict[str, Any]
    try:
        process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
        keep = {root_fd, stream_fd, status_fd, *(() if target is None else (target.pidfd,))}
        previous = 2
        for fd in (*sorted(keep), 0x80000000):
            process.close_range(previous + 1, fd - 1)
            previous = fd
        os.umask(0)
        if target is not None and target.namespaces & process.CLONE_NEWUSER:
            process.setns(target.pidfd, process.CLONE_NEWUSER)
            userns.become_root()
            process.prctl(process.PR_SET_DUMPABLE, 0)
        shown = message.get("shown", "")
        place = Place(root_fd, in_container=target is not None, shown=shown)
        skipped = (_out if message["role"] == "out" else _in)(message, place, stream_fd)
        answer = {"skipped": skipped}
    except BrokenPipeError:
        answer = {"skipped": [], "broken": True}
    except GockerError as error:
        answer = {"error": error.to_wire()}
    except OSError as error:
        answer = {
            "error": HostError(f"cp: {error.filename or 'write'}: {error.strerror}").to_wire()
        }
    except BaseException as error:  # whatever it is must reach the user
        answer = {"error": explain(error, "cp")}
    os.write(status_fd, json.dumps(answer).encode())
    os._exit(0)


def _out(message: Message, place: Place, stream_fd: int) -> list[str]:
    """``path``, ``name`` (of the top in the stream), ``follow``."""

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(stream_fd, view) :]

    archiver = Archiver(place, write)
    name = os.fsencode(message["name"])
    archiver.add(message["path"], name, follow=message["follow"])
    return archiver.skipped


class _Input:
    """A descriptor as `tar.Stream`: what was asked for, fewer only at the end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            data = os.read(self._fd, size - len(found))
            if not data:
                break
            found += data
        return bytes(found)


def _in(message: Message, place: Place, stream_fd: int) -> list[str]:
    """``path``, ``archive``, ``contents`` (of the source), ``stream``: it is the user's own."""
    path, archive = message["path"], message["archive"]
    stream = _Input(stream_fd)
    reader = tar.Reader(stream)
    extractor: Extractor | None = None
    if message["stream"]:
        top = place.open(path, os.O_RDONLY | os.O_DIRECTORY)
        extractor = Extractor(top, archive=archive, rename=None)
    for member in reader:
        if extractor is None:
            top, rename = _destination(place, path, member.kind, contents=message["contents"])
            extractor = Extractor(top, archive=archive, rename=rename)
        extractor.add(member, reader)
    if extractor is None:
        return []
    extractor.finish()
    while stream.read(1 << 16):
        pass  # padding behind the end, without which its writer would get SIGPIPE
    return extractor.skipped


def _destination(
    place: Place, path: str, kind: bytes, *, contents: bool
) -> tuple[int, bytes | None]:
    """Return the directory to write below, and what the first component of names becomes.

    As docker cp: into a directory that is there; else under the name that is given.
    """
    directory = place.try_open(path, os.O_RDONLY | os.O_DIRECTORY)
    if directory is not None:
        return directory, b"" if contents else None
    is_tree = kind == tar.DIRECTORY
    found = place.try_open(path.rstrip("/"), os.O_PATH)
    if found is not None:
        os.close(found)
        if is_tree:
            raise place.error(path, "is a file: cannot copy a directory to it")
        if path.endswith("/"):
            raise place.error(path, "is not a directory")
    elif path.endswith("/") and not is_tree:
        raise place.error(path, "the directory must exist", "make it first, or leave the / out")
    return place.parent(path)
