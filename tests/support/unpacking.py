"""Runs the process that unpacks layers on bytes, and tells what a directory has."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gocker.image.limits import Limits
from gocker.image.unpacking import Worker


def unpack(
    worker: Worker, data: bytes, target: Path, lower: Sequence[Path] = (), *,
    bottom: bool | None = None, **limits: int,
) -> dict[str, Any]:  # fmt: skip
    """Unpack an archive into a new directory; return the report."""
    target.mkdir(mode=0o755)
    fd = os.memfd_create("archive")
    try:
        os.write(fd, data)
        return worker.unpack(
            fd, str(target), [str(path) for path in lower], Limits(**limits),
            bottom=not lower if bottom is None else bottom,
        )  # fmt: skip
    finally:
        os.close(fd)


def tree(top: Path, *, times: bool = True) -> dict[str, tuple[Any, ...]]:
    """Return all that can be told of each file below a directory, by its path."""
    found: dict[str, tuple[Any, ...]] = {}
    links: dict[tuple[int, int], str] = {}

    def add(path: str, name: str) -> None:
        status = os.lstat(path)
        kind = stat.S_IFMT(status.st_mode)
        content: Any = None
        xattrs: dict[str, bytes] = {}
        if kind == stat.S_IFREG:
            content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        elif kind == stat.S_IFLNK:
            content = os.readlink(path)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            content = status.st_rdev
        if kind != stat.S_IFLNK:
            names = os.listxattr(path, follow_symlinks=False)
            xattrs = {it: os.getxattr(path, it) for it in names if it != "security.selinux"}
        first = name
        if kind != stat.S_IFDIR and status.st_nlink > 1:
            first = links.setdefault((status.st_dev, status.st_ino), name)
        found[name] = (
            oct(status.st_mode), status.st_uid, status.st_gid,
            status.st_mtime_ns if times else 0, first, content, sorted(xattrs.items()),
        )  # fmt: skip
        if kind == stat.S_IFDIR:
            for below in sorted(os.listdir(path)):
                add(f"{path}/{below}", f"{name}/{below}")

    add(str(top), "")
    return found
