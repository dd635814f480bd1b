"""The files of a container that has ended, as it saw them: its layers and its volumes.

Everything in them is hostile, and volumes may still change: each step is relative to an open
directory, no link is ever followed, and only regular files are given out.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import ExitStack, closing
from errno import ENODATA, ENOTSUP
from fnmatch import translate

from gocker.nested import opaque_xattr
from gocker.tree import DIRECTORY
from gocker.values import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence


# Deeper directories are passed over: each level costs descriptors.
MAX_DEPTH = 60
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class View:
    """Where a container's files are on the host.

    `layers`: directories of its root, topmost first. `mounts`: path in the container -> the
    host's directory or file, None for what is gone with the container (tmpfs, secrets).
    `covered`: paths at which only the topmost layer counts.
    """

    layers: tuple[str, ...]
    mounts: Mapping[str, str | None] = field(default_factory=dict)
    covered: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file: its path in the container, and a descriptor that is open for reading."""

    path: str
    fd: int


class Glob:
    """An absolute pattern: ``*``, ``?`` and ``[...]`` in a name, ``**`` for any directories.

    A directory that matches stands for everything below it.
    """

    __slots__ = ("segments",)

    def __init__(self, pattern: str) -> None:
        words = [word for word in pattern.split("/") if word]
        self.segments = [
            None if word == "**" else re.compile(translate(word)).fullmatch for word in words
        ]

    def step(self, position: int, name: str) -> Iterator[int]:
        """Yield the positions after `name`; the last one means that it matched."""
        segment = self.segments[position]
        if segment is not None:
            if segment(name) is not None:
                yield position + 1
            return
        yield position
        if position + 1 < len(self.segments):
            yield from self.step(position + 1, name)

    def ends(self, position: int) -> bool:
        """Whether nothing but ``**`` is left."""
        return self.segments[position:] == [None]

    def selects(self, path: str) -> bool:
        """Return whether a file with this path matches."""
        positions = {0} if self.segments else set()
        for name in path.strip("/").split("/"):
            positions = {after for at in positions for after in self.step(at, name)}
            if len(self.segments) in positions:
                return True
        return any(self.ends(position) for position in positions)


# Positions in patterns that have matched so far; None: everything below matches.
_States = frozenset[tuple[int, int]] | None


class _Walk:
    def __init__(self, view: View, globs: Sequence[Glob]) -> None:
        self.view = view
        self.globs = globs
        self.below: dict[Path, set[str]] = {}
        self.mounts: dict[Path, str | None] = {}
        for target, source in view.mounts.items():
            parts = tuple(part for part in target.split("/") if part)
            if parts:
                self.mounts[parts] = source
                self.below.setdefault(parts[:-1], set()).add(parts[-1])

    def directory(
        self, path: Path, fds: list[int], states: _States
    ) -> Generator[Found, None, None]:
        """Yield what matches below a directory, which `fds` are, topmost first."""
        for name in sorted(self.names(path, fds)):
            following = self.following(states, name)
            if following is None or following:
                yield from self.entry((*path, name), fds, following)

    def names(self, path: Path, fds: list[int]) -> set[str]:
        found = set(self.below.get(path, ()))
        return found.union(*(os.listdir(fd) for fd in fds))

    def following(self, states: _States, name: str) -> _States:
        if states is None:
            return None
        found = set()
        for number, position in states:
            for after in self.globs[number].step(position, name):
                if after == len(self.globs[number].segments):
                    return None
                found.add((number, after))
        return frozenset(found)

    def matches(self, states: _States) -> bool:
        """Whether a file with these states is wanted."""
        return states is None or any(self.globs[n].ends(position) for n, position in states)

    def entry(self, path: Path, fds: list[int], states: _States) -> Iterator[Found]:
        with ExitStack() as stack:
            own = path in self.mounts
            opened = self.mounted(path) if own else self.child(path, fds)
            for fd in opened:
                stack.callback(os.close, fd)
            if not opened:
                return
            kind = os.fstat(opened[0]).st_mode
            if stat.S_ISDIR(kind):
                if len(path) < MAX_DEPTH:
                    yield from self.directory(path, opened, states)
            elif stat.S_ISREG(kind) and self.matches(states):
                yield Found("/" + "/".join(path), opened[0])

    def mounted(self, path: Path) -> list[int]:
        """Open what is mounted at a path: the source is the spec's, so links in it count."""
        source = self.mounts[path]
        if source is None:
            return []
        fd = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        kind = os.fstat(fd).st_mode
        if stat.S_ISREG(kind) or stat.S_ISDIR(kind):
            return [fd]
        os.close(fd)
        return []

    def child(self, path: Path, fds: list[int]) -> list[int]:
        """Open a name: the topmost layer's file, or the directories of all layers in which it is.

        Source: overlayfs.rst, "whiteouts and opaque directories".
        """
        opened: list[int] = []
        for parent in fds:
            try:
                info = os.stat(path[-1], dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError:
                continue
            is_directory = stat.S_ISDIR(info.st_mode)
            if not is_directory and (opened or not stat.S_ISREG(info.st_mode)):
                break  # it covers what is below it: a whiteout, a link, a file under a directory
            opened.append(os.open(path[-1], DIRECTORY if is_directory else _FILE, dir_fd=parent))
            if not is_directory or self.covers(path, opened[-1]):
                break
        return opened

    def covers(self, path: Path, fd: int) -> bool:
        if "/" + "/".join(path) in self.view.covered:
            return True
        try:
            return os.getxattr(fd, opaque_xattr()) == b"y"
        except OSError as error:
            if error.errno in (ENODATA, ENOTSUP):
                return False
            raise


def find(view: View, patterns: Iterable[str]) -> Generator[Found, None, None]:
    """Yield the regular files that match a pattern, by name; each descriptor is ours to close.

    Raises:
        OSError: if a directory cannot be read.
    """
    globs = [Glob(pattern) for pattern in patterns]
    states = frozenset((number, 0) for number, glob in enumerate(globs) if glob.segments)
    walk = _Walk(view, globs)
    with ExitStack() as stack:
        fds = []
        for layer in view.layers:
            fds.append(os.open(layer, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            stack.callback(os.close, fds[-1])
        with closing(walk.directory((), fds, states)) as found:
            yield from found
