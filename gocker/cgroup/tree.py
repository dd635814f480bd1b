"""Directories of cgroups: make, list, remove. Everything is relative to a directory fd."""

from __future__ import annotations

import errno
import os

from gocker.errors import ConfigError, SyscallError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


def check_name(path: str) -> None:
    """Refuse a container's cgroup path that is not a plain relative one.

    Raises:
        ConfigError: for "", an absolute path, ``..``, ``.``, ``//`` or a newline or NUL.
    """
    bad = any(part in ("", ".", "..") for part in path.split("/"))
    if bad or "\n" in path or "\0" in path:
        raise ConfigError(f"cgroup path {path!r} is not a plain relative path", phase="cgroup")


def mkdir(path: str, dir_fd: int) -> list[str]:
    """Make a cgroup and the parents it lacks; return the parents made, outermost first.

    Raises:
        SyscallError: EEXIST if the cgroup itself is there already.
    """
    try:
        os.mkdir(path, dir_fd=dir_fd)
    except OSError as err:
        parent = path.rpartition("/")[0]
        if err.errno != errno.ENOENT or not parent:
            raise SyscallError("mkdir", err.errno or 0, path) from err
        made = _mkdir_parent(parent, dir_fd)
        return made + mkdir(path, dir_fd)
    return []


def _mkdir_parent(path: str, dir_fd: int) -> list[str]:
    try:
        return [*mkdir(path, dir_fd), path]
    except SyscallError as err:
        if err.errno == errno.EEXIST:  # another gocker was faster
            return []
        raise


def makedirs(directory: str) -> list[str]:
    """Make a directory and its missing parents; return those made, outermost first."""
    made: list[str] = []
    missing = directory
    while not os.path.isdir(missing):
        made.insert(0, missing)
        missing = os.path.dirname(missing)
    for path in made:
        try:
            os.mkdir(path)
        except FileExistsError:
            continue  # another gocker was faster
        except OSError as err:
            raise SyscallError("mkdir", err.errno or 0, path) from err
    return made


def children(path: str, dir_fd: int) -> list[str]:
    """Return the names of the cgroups below one; [] if it is gone."""
    try:
        fd = os.open(path, _DIRECTORY, dir_fd=dir_fd)
    except FileNotFoundError:
        return []
    try:
        with os.scandir(fd) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as err:
        if err.errno in (errno.ENODEV, errno.ENOENT):  # removed while we read it
            return []
        raise
    finally:
        os.close(fd)


def walk(path: str, dir_fd: int) -> list[str]:
    """Return a cgroup and all below it, deepest first."""
    found: list[str] = []
    pending = [path]
    while pending:
        current = pending.pop()
        found.append(current)
        pending += [f"{current}/{name}" for name in children(current, dir_fd)]
    return found[::-1]


def remove(path: str, dir_fd: int) -> bool:
    """Remove a cgroup and those the container made in it; return whether it is gone.

    False means that processes are still inside: try again when they have exited. Never waits.

    Raises:
        SyscallError: for anything but EBUSY and ENOENT.
    """
    gone = _rmdir(path, dir_fd)
    if gone:
        return True
    for name in walk(path, dir_fd):
        gone = _rmdir(name, dir_fd)
    return gone


def _rmdir(path: str, dir_fd: int) -> bool:
    try:
        os.rmdir(path, dir_fd=dir_fd)
    except OSError as err:
        # ENODEV: a kernfs file of a cgroup that dies at this moment.
        if err.errno in (errno.ENOENT, errno.ENODEV):
            return True
        # ENOTEMPTY is what an ordinary directory says; a cgroup with children says EBUSY.
        if err.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        raise SyscallError("rmdir", err.errno or 0, path) from err
    return True


def read(path: str, dir_fd: int) -> str | None:
    """Return a small file's text, or None if the kernel has no such file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    except FileNotFoundError:
        return None
    except OSError as err:
        raise SyscallError("open", err.errno or 0, path) from err
    try:
        return os.read(fd, 65536).decode()
    except OSError as err:
        if err.errno in (errno.ENODEV, errno.EOPNOTSUPP):  # dying cgroup; file without a handler
            return None
        raise SyscallError("read", err.errno or 0, path) from err
    finally:
        os.close(fd)


def write(path: str, value: str, dir_fd: int) -> None:
    """Write one value to a cgroup file.

    Raises:
        SyscallError: with the call that failed.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError as err:
        raise SyscallError("open", err.errno or 0, path, value=value) from err
    try:
        os.write(fd, value.encode())
    except OSError as err:
        raise SyscallError("write", err.errno or 0, path, value=value) from err
    finally:
        os.close(fd)


def pids(path: str, dir_fd: int, file: str = "cgroup.procs") -> list[int]:
    """Return the processes of a cgroup and of those below it.

    A process of another PID namespace reads as 0 and is left out: 0 would be ourselves to
    kill(2).
    """
    found: set[int] = set()
    for name in walk(path, dir_fd):
        found |= members(f"{name}/{file}", dir_fd)
    found.discard(0)
    return sorted(found)


def members(path: str, dir_fd: int) -> set[int]:
    """Return the PIDs in one cgroup.procs file; an empty set if it is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    except FileNotFoundError:
        return set()
    # utf-8 is built in; any other codec is an import, which the launcher can no longer do.
    with open(fd, encoding="utf-8") as file:
        try:
            return {int(line) for line in file}
        except OSError as err:
            if err.errno == errno.ENODEV:
                return set()
            raise SyscallError("read", err.errno or 0, path) from err
