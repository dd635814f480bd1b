"""Layers as trees of files: one alone with its whiteouts, or several merged as overlayfs does.

What containers have written is hostile: each step is relative to an open directory and follows
no link. Source: overlayfs.rst, "whiteouts and opaque directories".
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from errno import ENODATA, ENOTSUP

from gocker.errors import HostError
from gocker.nested import opaque_xattr
from gocker.tree import DIRECTORY
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MAX_DEPTH = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: `name` in the open directory `parent`, and its path below the root.

    `opaque`: a directory that hides what the layers below have in it.
    """

    path: str
    name: str
    parent: int
    status: os.stat_result
    opaque: bool = False

    @property
    def is_whiteout(self) -> bool:
        """Whether it stands for a name that is hidden."""
        return is_whiteout(self.status)


def is_whiteout(status: os.stat_result) -> bool:
    """Return whether a file is overlayfs's mark for a name that is hidden."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def walk(layers: Sequence[str], start: str = "", *, raw: bool = False) -> Iterator[Entry]:
    """Yield what is in the layers, topmost first, parents before children.

    Args:
        layers: directories.
        start: path of the directory to begin at, none of whose components may be a link.
        raw: yield whiteouts, too; for one layer alone.

    Raises:
        HostError: if a directory cannot be read.
    """
    with ExitStack() as stack:
        fds = []
        for layer in layers:
            fds.append(os.open(layer, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            stack.callback(os.close, fds[-1])
        try:
            for part in filter(None, start.split("/")):
                found = _find(fds, part)
                fds = _directories(fds, found) if found is not None else []
                for fd in fds:
                    stack.callback(os.close, fd)
            yield from _walk(fds, start.strip("/"), 0, raw=raw)
        except OSError as error:
            raise HostError(f"cannot read a layer: {error.strerror}") from error


def look(layers: Sequence[str], path: str) -> os.stat_result | None:
    """Return what the merged layers have at a path, no link followed; None if there is nothing."""
    with ExitStack() as stack:
        fds = []
        for layer in layers:
            fds.append(os.open(layer, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            stack.callback(os.close, fds[-1])
        *parents, name = [part for part in path.split("/") if part] or [""]
        for part in parents:
            found = _find(fds, part)
            if found is None or not stat.S_ISDIR(found.status.st_mode):
                return None
            fds = _directories(fds, found)
            for fd in fds:
                stack.callback(os.close, fd)
        if not name:
            return os.fstat(fds[0]) if fds else None
        last = _find(fds, name)
        return last.status if last is not None else None


def read_link(layers: Sequence[str], path: str) -> str | None:
    """Return where a link of the merged layers leads; None if there is no link."""
    parent, _, name = path.strip("/").rpartition("/")
    for entry in _listed(layers, parent):
        if entry.name == name and stat.S_ISLNK(entry.status.st_mode):
            return os.readlink(name, dir_fd=entry.parent)
    return None


def _listed(layers: Sequence[str], start: str) -> Iterator[Entry]:
    depth = len([part for part in start.split("/") if part])
    for entry in walk(layers, start):
        if entry.path.count("/") == depth:
            yield entry


def _find(fds: Sequence[int], name: str) -> Entry | None:
    for fd in fds:
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            continue
        return None if is_whiteout(status) else Entry(name, name, fd, status)
    return None


def _directories(fds: Sequence[int], entry: Entry) -> list[int]:
    """Open the directories that are merged under a name, from the one that was found on."""
    opened: list[int] = []
    for fd in fds[list(fds).index(entry.parent) :]:
        try:
            status = os.stat(entry.name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(status.st_mode):
            break  # it hides what is below it
        opened.append(os.open(entry.name, DIRECTORY, dir_fd=fd))
        if is_opaque(opened[-1]):
            break
    return opened


def is_opaque(fd: int) -> bool:
    """Return whether a directory hides what the layers below have in it."""
    try:
        return os.getxattr(fd, opaque_xattr()) == b"y"
    except OSError as error:
        if error.errno in (ENODATA, ENOTSUP):
            return False
        raise


def _walk(fds: Sequence[int], path: str, depth: int, *, raw: bool) -> Iterator[Entry]:
    if depth > _MAX_DEPTH:
        raise HostError(f"{path!r} is more than {_MAX_DEPTH} directories deep")
    seen: set[str] = set()
    for fd in fds:
        for name in sorted(os.listdir(fd)):
            if name in seen:
                continue
            seen.add(name)
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            below = f"{path}/{name}" if path else name
            if not stat.S_ISDIR(status.st_mode):
                if raw or not is_whiteout(status):
                    yield Entry(below, name, fd, status)
                continue
            opened = _directories(fds, Entry(below, name, fd, status))
            try:
                yield Entry(below, name, fd, status, opaque=raw and is_opaque(opened[0]))
                yield from _walk(opened, below, depth + 1, raw=raw)
            finally:
                for each in opened:
                    os.close(each)
