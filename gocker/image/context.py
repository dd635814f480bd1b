"""The build context: files of a directory, less what ``.dockerignore`` names.

Source: Dockerfile reference, ".dockerignore file"; moby/patternmatcher.
"""

from __future__ import annotations

import os
import re
import stat

from gocker.errors import HostError
from gocker.image.layertree import look, read_link, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gocker.image.layertree import Entry

_MOST_LINKS = 40


class Ignore:
    """The patterns of a ``.dockerignore``; the last that matches a path decides."""

    def __init__(self, text: str) -> None:
        self._rules: list[tuple[bool, re.Pattern[str]]] = []
        for line in text.splitlines():
            pattern = line.strip()
            if not pattern or pattern.startswith("#"):
                continue
            keep = pattern.startswith("!")
            pattern = os.path.normpath(pattern.lstrip("!").strip()).strip("/")
            self._rules.append((keep, re.compile(translate(pattern))))
        self._exceptions = any(keep for keep, _ in self._rules)

    def __call__(self, path: str) -> bool:
        """Return whether a path, or a directory above it, is left out."""
        parts = path.split("/")
        above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        ignored = False
        for keep, rule in self._rules:
            if any(rule.fullmatch(each) for each in above):
                ignored = not keep
        return ignored


def translate(pattern: str) -> str:
    """Return a regular expression for Go's filepath.Match, with ``**`` for any directories."""
    found = ""
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*":
            if pattern[at : at + 1] == "*":
                at += 1
                if pattern[at : at + 1] == "/":
                    at += 1
                    found += "(?:.*/)?"
                else:
                    found += ".*"
            else:
                found += "[^/]*"
        elif character == "?":
            found += "[^/]"
        elif character == "[":
            end = pattern.find("]", at + 1)
            if end < 0:
                raise ValueError(f"{pattern!r}: [ has no ]")
            inner = pattern[at:end].replace("\\", "\\\\")
            found += f"[{inner}]" if not inner.startswith("^") else f"[^{inner[1:]}]"
            at = end + 1
        elif character == "\\" and at < len(pattern):
            found += re.escape(pattern[at])
            at += 1
        else:
            found += re.escape(character)
    return found


class Files:
    """Where COPY takes files from: a context or the layers of a stage, links kept inside.

    Args:
        layers: directories, topmost first.
        ignore: what is left out; nothing without.
    """

    def __init__(self, layers: Sequence[str], ignore: Ignore | None = None) -> None:
        self.layers = tuple(layers)
        self._ignore = ignore

    def match(self, pattern: str) -> list[str]:
        """Return the paths that a source stands for, sorted; none if nothing matches.

        Raises:
            HostError: if it leads out, or has too many links.
        """
        pattern = os.path.normpath(pattern).lstrip("/")
        if pattern in ("", "."):
            return [""]
        if pattern == ".." or pattern.startswith("../"):
            raise HostError(f"{pattern!r} leads out of the context")
        if not any(character in pattern for character in "*?["):
            path = self.resolve(pattern)
            return [] if path is None else [path]
        rule = re.compile(translate(pattern))
        depth = pattern.count("/")
        return sorted(
            entry.path for entry in self.below("")
            if entry.path.count("/") == depth and rule.fullmatch(entry.path)
        )  # fmt: skip

    def resolve(self, path: str) -> str | None:
        """Return where a path leads, links followed inside; None if there is nothing."""
        todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        at: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                del at[-1:]
                continue
            here = "/".join((*at, part))
            status = look(self.layers, here)
            if status is None or (self._ignore is not None and self._ignored(here, status)):
                return None
            if not stat.S_ISLNK(status.st_mode):
                at.append(part)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise HostError(f"{path!r} has too many links")
            target = read_link(self.layers, here) or ""
            if target.startswith("/"):
                at.clear()
            todo += [it for it in reversed(target.split("/")) if it not in ("", ".")]
        return "/".join(at)

    def _ignored(self, path: str, status: os.stat_result) -> bool:
        # A directory that is left out may have something in it that is not.
        return not stat.S_ISDIR(status.st_mode) and self._ignore is not None and self._ignore(path)

    def status(self, path: str) -> os.stat_result | None:
        """Return what is at a path, no link followed."""
        return look(self.layers, path)

    def below(self, path: str) -> Iterator[Entry]:
        """Yield all that is below a directory and not left out, parents first."""
        for entry in walk(self.layers, path):
            if self._ignore is None or not self._ignore(entry.path):
                yield entry

    def one(self, path: str) -> Iterator[Entry]:
        """Yield the file at a path."""
        parent = os.path.dirname(path)
        for entry in walk(self.layers, parent):
            if entry.path == path:
                yield entry
                return
