"""What unpacking an archive has to do, on a dict: the model that the real one is held against."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, field
from typing import Any

MAX_LINKS = 40
MAX_DEPTH = 128


class RefusedError(Exception):
    pass


@dataclass
class Node:
    kind: str  # directory, file, link, fifo
    value: Any = None
    mode: int = 0o755
    entries: dict[str, Node] = field(default_factory=dict)


class Model:
    """A bottom layer: there is nothing below it, so a whiteout does nothing."""

    def __init__(self) -> None:
        self.root = Node("directory")

    def add(self, info: tarfile.TarInfo, content: bytes) -> None:
        # As it is written: a directory's name ends with a slash, also an empty one.
        parts = self._clean(f"{info.name}/" if info.isdir() else info.name)
        if len(parts) > MAX_DEPTH:
            raise RefusedError("too deep")
        if not parts:
            if not info.isdir():
                raise RefusedError("root")
            self.root.mode = info.mode
            return
        if any(part.startswith(".wh..wh.") and part != ".wh..wh..opq" for part in parts):
            return
        last = parts[-1]
        if last.startswith(".wh."):
            if last == ".wh..wh..opq":
                self._directory(parts[:-1])
            elif last[4:] in ("", ".", ".."):
                raise RefusedError("whiteout of nothing")
            return
        if any(part.startswith(".wh.") for part in parts):
            raise RefusedError("in a whiteout")
        parent = self._directory(parts[:-1])
        if info.islnk():
            self._link(parts, self._clean(info.linkname))
        elif info.isdir():
            there = parent.entries.get(last)
            if there is None or there.kind != "directory":
                there = parent.entries[last] = Node("directory")
            there.mode = info.mode
        elif info.issym():
            if not info.linkname:
                raise RefusedError("empty link")
            parent.entries[last] = Node("link", info.linkname, 0o777)
        elif info.isfifo():
            parent.entries[last] = Node("fifo", None, info.mode)
        else:
            parent.entries[last] = Node("file", content, info.mode)

    def _clean(self, name: str) -> list[str]:
        if not name:
            raise RefusedError("empty")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts or len(name) >= 4096 or any(len(part) > 255 for part in parts):
            raise RefusedError("leaves")
        return parts

    def _link(self, parts: list[str], target: list[str]) -> None:
        if not target or target == parts:
            raise RefusedError("links to itself")
        source = self._directory(target[:-1])
        node = source.entries.get(target[-1])
        parent = self._directory(parts[:-1])
        if node is None or node.kind == "directory":
            raise RefusedError("links to nothing")
        if source is parent and target[-1] == parts[-1]:
            raise RefusedError("links to itself by another way")
        there = parent.entries.get(parts[-1])
        if there is not None and there.kind == "directory" and self._below(there, node):
            raise RefusedError("its target goes with what it replaces")
        parent.entries[parts[-1]] = node

    def _below(self, directory: Node, wanted: Node) -> bool:
        return any(
            node is wanted or (node.kind == "directory" and self._below(node, wanted))
            for node in directory.entries.values()
        )

    def _directory(self, parts: list[str]) -> Node:
        """Return a directory, links followed inside the root, what is missing made."""
        at: list[Node] = [self.root]
        links = 0
        todo = list(reversed(parts))
        while todo:
            name = todo.pop()
            if name == "..":
                if len(at) > 1:
                    at.pop()
                continue
            node = at[-1].entries.get(name)
            if node is None:
                node = at[-1].entries[name] = Node("directory")
            if node.kind == "link":
                links += 1
                if links > MAX_LINKS:
                    raise RefusedError("too many links")
                target = str(node.value)
                todo += [it for it in reversed(target.split("/")) if it not in ("", ".")]
                if target.startswith("/"):
                    del at[1:]
                continue
            if node.kind != "directory":
                raise RefusedError("not a directory")
            at.append(node)
        return at[-1]

    def tree(self) -> dict[str, tuple[str, int, Any]]:
        """Return kind, mode and value of everything, by path; hard links share a number."""
        numbers: dict[int, str] = {}
        found: dict[str, tuple[str, int, Any]] = {}

        def add(node: Node, path: str) -> None:
            first = numbers.setdefault(id(node), path)
            value = (first, node.value) if node.kind != "directory" else None
            found[path] = (node.kind, node.mode, value)
            for name in sorted(node.entries):
                add(node.entries[name], f"{path}/{name}")

        add(self.root, "")
        return found
