"""Directories and files that only we may touch: opened by descriptor, never through a link.

Below a verified directory everything is reached with ``*at`` calls relative to its descriptor,
so nobody can swap a path component under us (security: races in /tmp and /run).
"""

from __future__ import annotations

import errno
import os
import stat
import time

from gocker.errors import HostError

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Nothing of ours but logs is larger; a bigger file is not ours.
_MAX_FILE = 1 << 20
_TEMPORARY_S = 60.0
# These say nothing about the file, so it is not called damaged because of them.
_SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Descriptor:
    """An open descriptor: a ``with`` block gives it, and closes it."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def open_private(
    name: str, *, dir_fd: int | None = None, shown: str | None = None, make: bool = True
) -> int:
    """Open a directory, making it with mode 0700 if it is missing, and verify it.

    Args:
        name: of the directory; its parent exists.
        dir_fd: the parent, if `name` is relative.
        shown: path for messages.
        make: whether it is made; else FileNotFoundError says that it is missing.

    Raises:
        HostError: if it is a link or no directory, belongs to someone else, or is open to
            others.
    """
    shown = shown or name
    try:
        made = make and _make(name, dir_fd)
        fd = os.open(name, DIRECTORY, dir_fd=dir_fd)
    except NotADirectoryError as err:
        raise HostError(
            f"{shown!r} is not a directory, or is a link",
            hint=f"remove it, or set another root (GOCKER_DATA_ROOT, GOCKER_RUN_ROOT): rm {shown}",
        ) from err
    except OSError as err:
        if not make and err.errno == errno.ENOENT:
            raise
        raise HostError(f"cannot open {shown!r}: {err.strerror}") from err
    try:
        if made:
            os.fchmod(fd, 0o700)  # whatever the umask took
        _verify(fd, shown)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _make(name: str, dir_fd: int | None) -> bool:
    try:
        os.mkdir(name, 0o700, dir_fd=dir_fd)
    except FileExistsError:
        return False
    return True


def _verify(fd: int, shown: str) -> None:
    status = os.fstat(fd)
    if status.st_uid != os.geteuid():
        raise HostError(
            f"{shown!r} belongs to user {status.st_uid}, not to {os.geteuid()}",
            hint=f"if it is yours: chown {os.geteuid()} {shown}",
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise HostError(f"{shown!r} has mode {mode:04o}, not 0700", hint=f"chmod 700 {shown}")


def verify_ancestors(path: str) -> None:
    """Refuse a path that somebody else could swap: each ancestor is root's or ours.

    A directory that others may write to is accepted if it is sticky, as /tmp is, since our
    entry cannot be renamed there.

    Raises:
        HostError: naming the ancestor.
    """
    # In a user namespace without the host's root, / belongs to the overflow user.
    trusted = {0, os.geteuid(), os.stat("/").st_uid}
    path = os.path.dirname(path)
    while path != "/":
        status = os.lstat(path)
        if status.st_uid not in trusted:
            raise HostError(
                f"{path!r} belongs to user {status.st_uid}, who could replace gocker's directory",
                hint="set GOCKER_DATA_ROOT and GOCKER_RUN_ROOT to a place of your own",
            )
        if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            raise HostError(f"{path!r} can be written by everyone", hint=f"chmod o-w {path}")
        path = os.path.dirname(path)


def list_names(fd: int) -> list[str]:
    """Return the sorted names in a directory.

    Raises:
        HostError: if it cannot be read.
    """
    try:
        return sorted(os.listdir(fd))
    except OSError as err:
        raise HostError(f"cannot list a directory of gocker's: {err.strerror}") from err


def write_atomic(dir_fd: int, name: str, content: bytes) -> None:
    """Replace a file whole: readers see the old content or the new, never a part.

    No fsync: the state is bound to processes, which do not survive the power cut it is for.

    Raises:
        HostError: if it cannot be written; no temporary file is left.
    """
    temporary = f".{name}.{os.urandom(4).hex()}"
    try:
        fd = os.open(temporary, _WRITE, 0o600, dir_fd=dir_fd)
        try:
            with open(fd, "wb") as file:
                file.write(content)
            os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except BaseException:
            os.unlink(temporary, dir_fd=dir_fd)
            raise
    except OSError as err:
        raise HostError(f"cannot write {name!r}: {err.strerror}") from err


def temporaries(fd: int, names: list[str]) -> list[str]:
    """Return those of `names` in a directory that `write_atomic` began long ago and never ended.

    Its writer needs milliseconds. One that slept for a minute finds its file gone, and says so.
    """
    limit = time.time() - _TEMPORARY_S
    found = []
    for name in names:
        try:
            if _is_temporary(name) and (
                os.stat(name, dir_fd=fd, follow_symlinks=False).st_mtime < limit
            ):
                found.append(name)
        except FileNotFoundError:
            pass  # renamed by now
    return found


def _is_temporary(name: str) -> bool:
    """Return whether `write_atomic` may have made a name: ``.NAME.`` and eight hex digits."""
    stem, dot, chance = name.rpartition(".")
    return bool(dot) and stem[:1] == "." and len(stem) > 1 and (
        len(chance) == 8 and not chance.strip("0123456789abcdef")
    )  # fmt: skip


def read_small(dir_fd: int, name: str) -> bytes | None:
    """Return the content of a regular file, at most 1 MiB, or None if there is none.

    Raises:
        HostError: if that cannot be found out for lack of descriptors or memory.
    """
    try:
        fd = os.open(name, _READ, dir_fd=dir_fd)
    except OSError as err:
        if err.errno in _SHORTAGE:
            raise HostError(f"cannot read {name!r}: {err.strerror}") from err
        return None  # missing, a link, unreadable: for the caller all mean "damaged"
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        return os.read(fd, _MAX_FILE)
    finally:
        os.close(fd)
