"""Copies what a container made into the project's directory: ``.gocker/runs/RUN/INSTANCE/N/``.

The directory may be mounted into containers, so nothing in it is trusted: every step is
relative to an open directory, links are refused, and files are made new.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager

from gocker.errors import HostError
from gocker.report.human import size
from gocker.state.names import log_name
from gocker.state.view import find
from gocker.tree import DIRECTORY
from gocker.values import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gocker.state.view import View


TOP = ".gocker"
# Of one attempt, where the spec says nothing. A sparse file costs its writer nothing.
MAX_SIZE = 1 << 30
MAX_FILES = 100_000
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Saved:
    """A file that was copied: from where in the container, to where below the project."""

    path: str
    file: str
    bytes: int


@dataclass(slots=True)
class Copied:
    """What came of it: the files, and one sentence for each that is missing."""

    files: list[Saved] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where one attempt's files go: below `directory`, owned by `owner` (uid, gid) if given."""

    directory: str
    run_id: str
    instance: str
    attempt: int
    owner: tuple[int, int] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The directories on the way, from the project's own."""
        instance = log_name(self.instance, 1).removesuffix(".log")
        return (TOP, "runs", self.run_id, instance, str(self.attempt))


def copy(view: View, patterns: Iterable[str], shelf: Shelf, max_size: int | None) -> Copied:
    """Copy the files that match; what cannot be copied is in the notes, never an error."""
    most = MAX_SIZE if max_size is None else max_size
    result = Copied()
    patterns = list(patterns)
    try:
        for found in find(view, patterns):
            if len(result.files) == MAX_FILES:
                result.notes.append(f"only the first {MAX_FILES} artifacts were saved")
                break
            try:
                _copy_one(found.path, found.fd, shelf, most, result)
            except (OSError, HostError) as error:
                result.notes.append(f"artifact {shown(found.path)} not saved: {_reason(error)}")
    except OSError as error:
        result.notes.append(f"artifacts could not be looked for: {_reason(error)}")
    if not result.files and not result.notes:
        result.notes.append(f"no artifact matches {', '.join(patterns)}")
    return result


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def shown(path: str) -> str:
    """Return a path of a container, whose names are any bytes, as text."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _copy_one(path: str, source: int, shelf: Shelf, most: int, result: Copied) -> None:
    info = os.fstat(source)
    room = most - result.bytes
    if info.st_size > room:
        raise HostError(f"{size(info.st_size)} are over max_size ({size(most)} in all)")
    *folders, name = (part for part in path.split("/") if part)
    with _made(shelf.directory, (*shelf.names, *folders), shelf.owner) as folder:
        target = os.open(name, _NEW, 0o600, dir_fd=folder)
        try:
            count = _fill(target, source, room)
            if shelf.owner is not None:
                os.fchown(target, *shelf.owner)
            os.fchmod(target, stat.S_IMODE(info.st_mode) & 0o777 | 0o400)
            os.fsync(target)  # before anyone is told that it was saved
            os.fsync(folder)
        except BaseException:
            os.unlink(name, dir_fd=folder)
            raise
        finally:
            os.close(target)
    result.bytes += count
    result.files.append(Saved(shown(path), shown("/".join((*shelf.names, path[1:]))), count))


def _fill(target: int, source: int, room: int) -> int:
    """Copy at most `room` bytes: a file in a volume may grow meanwhile."""
    count = 0
    while count < room and (sent := os.sendfile(target, source, None, min(_CHUNK, room - count))):
        count += sent
    return count


@contextmanager
def _made(top: str, names: Iterable[str], owned: tuple[int, int] | None) -> Iterator[int]:
    """Give a descriptor of a directory below `top`, made if missing; a link on the way is refused.

    Raises:
        HostError: naming what is in the way.
    """
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names:
            try:
                os.mkdir(name, 0o755, dir_fd=fd)
                new = True
            except FileExistsError:
                new = False
            try:
                below = os.open(name, DIRECTORY, dir_fd=fd)
            except OSError as error:
                raise HostError(f"{shown(name)!r} is in the way: {error.strerror}") from error
            os.close(fd)
            fd = below
            if new:
                if owned is not None:
                    os.fchown(fd, *owned)
                if name == TOP:
                    _ignore(fd, owned)
        yield fd
    finally:
        os.close(fd)


def _ignore(fd: int, owned: tuple[int, int] | None) -> None:
    """Keep git from offering the directory for a commit."""
    ignore = os.open(".gitignore", _NEW, 0o644, dir_fd=fd)
    os.write(ignore, b"*\n")
    if owned is not None:
        os.fchown(ignore, *owned)
    os.close(ignore)
