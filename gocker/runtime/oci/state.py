"""Containers on disk: one private directory each, written whole or not at all.

``<root>/<id>/state.json`` is written before the first thing that the kernel would keep, so a
runtime that is killed at any moment leaves what `delete --force` needs. What a container does
is never read from the file: its process (PID and start time, so that a reused PID is no mistake)
and the program that it executes tell.

The lock of a container is flock(2) on its directory: it ends with its holder.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time

from gocker import jsontext
from gocker.errors import ContainerError, HostError, InternalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STATE, CONFIG, SCRATCH = "state.json", "config.json", "scratch"
# The first process reads a byte from the one, then writes to the other why it could not go on.
FIFO, RESULT = "exec.fifo", "result/exec.fifo"
CREATING, CREATED, RUNNING, PAUSED, STOPPED = "creating", "created", "running", "paused", "stopped"
LOCK_TIMEOUT_S = 10.0

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_BYTES = 64 << 20
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


def default_root() -> str:
    """Return the directory of containers when ``--root`` is not given."""
    if os.geteuid() == 0:
        return "/run/gocker-oci"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime:
        raise HostError(
            "no directory for the state of containers", hint="set XDG_RUNTIME_DIR or give --root"
        )
    return f"{runtime}/gocker-oci"


def check_id(container_id: str) -> None:
    """Refuse an id that could be a path or an option.

    Raises:
        ContainerError: empty, too long for a file name, hidden, or with other characters.
    """
    bad = next((letter for letter in container_id if letter not in _ALLOWED), None)
    if bad is not None:
        raise ContainerError(
            f"invalid character {bad!r} in container ID {container_id!r}",
            hint="letters, digits and _ + - . are allowed",
        )
    if not container_id or len(container_id) > 255 or container_id.startswith("."):
        raise ContainerError(
            f"invalid container ID {container_id!r}", hint="1 to 255 characters, the first no dot"
        )


class Directory:
    """The state directory of one container. Owns its descriptor; `close` ends a lock, too."""

    __slots__ = ("fd", "id", "path")

    def __init__(self, root: str, container_id: str, fd: int) -> None:
        self.id = container_id
        self.path = f"{root}/{container_id}"
        self.fd = fd

    @classmethod
    def make(cls, root: str, container_id: str) -> Directory:
        """Make the directory of a new container and lock it.

        Raises:
            ContainerError: if there is a container of this id.
            HostError: if the root cannot be used.
        """
        check_id(container_id)
        _make_root(root)
        path = f"{root}/{container_id}"
        try:
            # Searchable: the root of a user namespace has its scratch directory in it.
            os.mkdir(path, 0o711)
            os.chmod(path, 0o711)  # noqa: S103  # its parent is private
        except FileExistsError:
            raise ContainerError(
                f"container with id exists: {container_id}",
                hint=f"gocker-oci delete --force {container_id}",
            ) from None
        except OSError as error:
            raise HostError(f"cannot make {path!r}: {error.strerror}") from error
        made = cls(root, container_id, os.open(path, _DIRECTORY))
        made.lock()
        return made

    @classmethod
    def open(cls, root: str, container_id: str) -> Directory:
        """Open the directory of a container.

        Raises:
            ContainerError: if there is none.
        """
        check_id(container_id)
        try:
            fd = os.open(f"{root}/{container_id}", _DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            raise ContainerError(
                f"container does not exist: {container_id}", missing=True
            ) from None
        except OSError as error:
            raise HostError(f"cannot open {root}/{container_id}: {error.strerror}") from error
        return cls(root, container_id, fd)

    def lock(self) -> None:
        """Take the lock; wait for the command that has it.

        Raises:
            ContainerError: if it takes too long, or the container was deleted meanwhile.
        """
        until = time.monotonic() + LOCK_TIMEOUT_S
        delay = 0.001
        while not self.try_lock():
            if time.monotonic() > until:
                raise ContainerError(
                    f"container {self.id} is busy: another command works on it", busy=True
                )
            time.sleep(delay)
            delay = min(2 * delay, 0.05)
        if not self.exists():
            raise ContainerError(f"container does not exist: {self.id}", missing=True)

    def try_lock(self) -> bool:
        """Take the lock if nobody has it."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def make_fifo(self, name: str) -> int:
        """Make a FIFO; return a descriptor open for both ends, so that its owner never waits."""
        parent = os.path.dirname(name)
        if parent:
            os.mkdir(parent, 0o700, dir_fd=self.fd)
        os.mkfifo(name, 0o600, dir_fd=self.fd)
        return os.open(name, os.O_RDWR | os.O_CLOEXEC, dir_fd=self.fd)

    def unlock(self) -> None:
        """Let other commands work on the container."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def exists(self) -> bool:
        """Return whether the directory is still there under its name."""
        try:
            named = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        own = os.fstat(self.fd)
        return (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino)

    def read(self, name: str) -> Any:
        """Return a file's JSON value, or None if there is no such file.

        Raises:
            InternalError: if it is damaged.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(name, flags, dir_fd=self.fd)
        except FileNotFoundError:
            return None
        try:
            data = _read(fd)
        finally:
            os.close(fd)
        try:
            return jsontext.loads(data)
        except ValueError as error:
            raise InternalError(f"{self.path}/{name} is damaged: {error}") from error

    def write(self, name: str, value: Any) -> None:
        """Write a file whole or not at all."""
        self.write_bytes(name, jsontext.dumps(value).encode())

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all."""
        new = f"{name}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(new, flags, 0o600, dir_fd=self.fd)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)
        os.rename(new, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def remove(self) -> None:
        """Remove the files and the directory; the state last, as long as it says what is left."""
        names = set(os.listdir(self.fd)) - {STATE}
        if os.path.dirname(RESULT) in names:
            names.add(RESULT)
        for name in (*sorted(names, reverse=True), STATE):
            try:
                os.unlink(name, dir_fd=self.fd)
            except IsADirectoryError:
                os.rmdir(name, dir_fd=self.fd)
            except FileNotFoundError:
                continue
        try:
            os.rmdir(self.path)
        except FileNotFoundError:
            pass  # by another delete

    def close(self) -> None:
        """Close the descriptor, and with it end the lock."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _make_root(root: str) -> None:
    try:
        os.makedirs(root, 0o700, exist_ok=True)
        information = os.stat(root)
    except OSError as error:
        raise HostError(f"cannot make {root!r}: {error.strerror}", hint="give --root") from error
    if information.st_uid not in (0, os.geteuid()) or information.st_mode & stat.S_IWOTH:
        raise HostError(
            f"{root!r} can be written by others", hint="give a private directory as --root"
        )


def _read(fd: int) -> bytes:
    chunks = []
    size = 0
    while chunk := os.read(fd, 1 << 20):
        chunks.append(chunk)
        size += len(chunk)
        if size > _MAX_BYTES:
            raise InternalError("a state file is larger than 64 MiB")
    return b"".join(chunks)


def ids(root: str) -> list[str]:
    """Return the ids of all containers below a root."""
    try:
        names = os.listdir(root)
    except FileNotFoundError:
        return []
    except OSError as error:
        if error.errno == errno.ENOTDIR:
            return []
        raise HostError(f"cannot read {root!r}: {error.strerror}") from error
    return sorted(name for name in names if os.path.isdir(f"{root}/{name}"))


def own_program() -> list[int]:
    """Return device and inode of the program that this process executes: the interpreter."""
    information = os.stat("/proc/self/exe")
    return [information.st_dev, information.st_ino]


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if it does not live.

    A zombie does not live. Source: proc_pid_stat(5), fields 3 and 22.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def waits_for_start(pid: int, program: list[int]) -> bool:
    """Return whether a process still executes the runtime and not yet its own program."""
    try:
        information = os.stat(f"/proc/{pid}/exe")
    except FileNotFoundError:
        return False
    except PermissionError:
        # Not dumpable, which the runtime is and execve(2) resets.
        return True
    return [information.st_dev, information.st_ino] == program
