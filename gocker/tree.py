"""Removal of a directory tree that may hold anything a container's root could make.

Relative to descriptors throughout: no link is followed, and a mount point below is never
entered (it would be the user's own data). Ground, since both layers clean up.
"""

from __future__ import annotations

import os
import stat

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """Remove `path` and everything below it; nothing to do if it is not there.

    Raises:
        OSError: EBUSY if something is mounted below; what was not removed stays.
    """
    parent, name = os.path.split(path.rstrip("/"))
    try:
        parent_fd = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _remove(parent_fd, name)
    finally:
        os.close(parent_fd)


def _remove(parent_fd: int, name: str) -> None:
    try:
        info = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(info.st_mode):
        os.unlink(name, dir_fd=parent_fd)
        return
    try:
        os.rmdir(name, dir_fd=parent_fd)  # most are empty: one call instead of four
        return
    except OSError:
        pass
    # An explicit stack: a container can nest deeper than the interpreter recurses.
    stack = [(parent_fd, name, _open(parent_fd, name))]
    try:
        while stack:
            above, name, fd = stack[-1]
            child = _empty(fd, info.st_dev)
            if child is not None:
                stack.append((fd, child, _open(fd, child)))
                continue
            stack.pop()
            os.close(fd)
            os.rmdir(name, dir_fd=above)
    finally:
        for _, _, fd in stack:
            os.close(fd)


def _open(parent_fd: int, name: str) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent_fd)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent_fd)
        return os.open(name, _DIRECTORY, dir_fd=parent_fd)


def _empty(fd: int, device: int) -> str | None:
    """Unlink what is in the directory; return the first subdirectory that is not empty."""
    with os.scandir(fd) as entries:
        names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in names:
        if not is_directory:
            os.unlink(name, dir_fd=fd)
            continue
        try:
            os.rmdir(name, dir_fd=fd)
        except OSError:
            if os.stat(name, dir_fd=fd, follow_symlinks=False).st_dev != device:
                raise  # EBUSY: a mount point
            return name
    return None
