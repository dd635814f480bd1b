"""Remove a directory tree without following a link or crossing a mount.

What containers leave is hostile: links to /etc, trees deeper than our descriptor limit, a bind
mount of the user's data that was not taken down. So every step is an ``*at`` call on the
directory itself, the depth costs one descriptor, and a mounted directory stops the removal.
Ground, since the launcher and the front both clean up.
"""

from __future__ import annotations

import os
import stat

from gocker.errors import HostError

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Level:
    """A directory on the way down: its name and identity, and its directories still to remove."""

    __slots__ = ("identity", "name", "pending")

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.identity = _identity(fd)
        self.pending = _remove_files(fd)


def remove_tree(parent_fd: int, name: str) -> None:
    """Remove `name` in the directory `parent_fd` and all below it; missing is fine.

    Raises:
        HostError: if a mount is in the tree (nothing below it is touched), or the kernel
            refuses.
    """
    try:
        mount = _mount_id(parent_fd)
        fd = os.dup(parent_fd)
    except OSError as err:
        raise HostError(f"cannot remove {name!r}: {err.strerror}") from err
    levels: list[_Level] = []
    pending = [name]
    try:
        while True:
            if pending:
                child = _open(fd, pending[-1])
                if child is None:
                    pending.pop()
                    continue
                os.close(fd)
                fd = child
                if _mount_id(fd) != mount:
                    raise HostError(_mounted(levels, pending[-1]), hint="umount it first")
                levels.append(_Level(pending[-1], fd))
                pending = levels[-1].pending
            elif levels:
                done = levels.pop()
                up = os.open("..", DIRECTORY, dir_fd=fd) if levels else os.dup(parent_fd)
                os.close(fd)
                fd = up
                if levels and _identity(fd) != levels[-1].identity:
                    raise HostError(f"{done.name!r} was moved while it was removed")
                os.rmdir(done.name, dir_fd=fd)
                pending = levels[-1].pending if levels else [name]
                pending.pop()
            else:
                return
    except OSError as err:
        where = "/".join(level.name for level in levels) or name
        raise HostError(f"cannot remove {where!r}: {err.strerror}") from err
    finally:
        os.close(fd)


def remove_path(path: str) -> None:
    """Remove the tree at `path`, whose parent is a directory of ours; missing is fine.

    Raises:
        HostError: as `remove_tree`.
    """
    parent, name = os.path.split(path)
    try:
        parent_fd = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        remove_tree(parent_fd, name)
    finally:
        os.close(parent_fd)


def _open(fd: int, name: str) -> int | None:
    """Return a descriptor of the directory `name`, or None after removing what is none."""
    try:
        return os.open(name, DIRECTORY, dir_fd=fd)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        os.unlink(name, dir_fd=fd)
        return None
    except PermissionError:
        # An overlay's work directory has mode 0. The descriptor keeps the chmod on this inode.
        path_fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        try:
            os.chmod(f"/proc/self/fd/{path_fd}", 0o700)
        finally:
            os.close(path_fd)
        return os.open(name, DIRECTORY, dir_fd=fd)


def _remove_files(fd: int) -> list[str]:
    """Unlink everything in a directory that is not a directory; return the directories."""
    if stat.S_IMODE(os.fstat(fd).st_mode) & 0o300 != 0o300:
        os.fchmod(fd, 0o700)
    directories = []
    with os.scandir(fd) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                directories.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=fd)
    return directories


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _mount_id(fd: int) -> str:
    """Return the mount a descriptor is on. st_dev would miss a bind mount of the same disk."""
    with open(f"/proc/self/fdinfo/{fd}") as file:
        for line in file:
            if line.startswith("mnt_id:"):
                return line
    raise HostError("no mnt_id in /proc/self/fdinfo", hint="gocker needs Linux 3.15 or newer")


def _mounted(levels: list[_Level], name: str) -> str:
    path = "/".join([*(level.name for level in levels), name])
    return f"{path!r} is a mount point; it and what is mounted there stay"
