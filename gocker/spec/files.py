"""Reads the files that a spec names, without ever waiting or reading too much.

A spec may come from somebody else: a FIFO, a device or a sparse file of 10 GB behind a name in
it must be an error at once, and no error may show what is in a file.
"""

from __future__ import annotations

import os
import stat
import sys

from gocker.digest import hexdigest

MAX_BYTES = 8 << 20


# What the file system answered, as (question, path) -> answer, while somebody keeps a record:
# with the same answers a load has the same result. See `record` and `ask`.
_answers: dict[tuple[str, str], str] | None = None


# The only directory that files may be in, if the command line says so: see `trust`.
_trusted_root: str | None = None


class FileProblem(Exception):  # noqa: N818  # becomes a Problem with the place of the reference
    """A file cannot be used. The text says why, without its name and without its content."""


def trust(directory: str) -> None:
    """Refuse every file from now on that is not below a directory, wherever links lead to."""
    global _trusted_root  # noqa: PLW0603  # the file system is global, too
    _trusted_root = os.path.realpath(directory)


def read(path: str, limit: int = MAX_BYTES) -> bytes:
    """Return what is in the regular file at `path` (``-`` is standard input).

    Raises:
        FileProblem: if it is missing, no regular file, too large or unreadable.
    """
    try:
        data = _read(path, limit)
    except FileProblem as error:
        _note("read", path, f"! {error}")
        raise
    if _answers is not None:
        _note("read", path, hexdigest(data))
    return data


def _read(path: str, limit: int) -> bytes:
    if path == "-":
        return _bounded(sys.stdin.buffer.read(limit + 1), limit)
    try:
        # Non-blocking: opening a FIFO without a writer would wait for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise FileProblem(_reason(error)) from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise FileProblem(f"it is {_KINDS.get(stat.S_IFMT(status.st_mode), 'no file')}")
        if status.st_size > limit:
            raise FileProblem(f"it has {status.st_size} bytes, at most {limit} are read")
        _check_trusted(fd)
        # Files of /proc have size 0 and content; the limit holds for them too.
        with os.fdopen(fd, "rb", closefd=False) as file:
            return _bounded(file.read(limit + 1), limit)
    except OSError as error:
        raise FileProblem(_reason(error)) from error
    finally:
        os.close(fd)


def _check_trusted(fd: int) -> None:
    """Look where the file is that was opened, not where its name leads to by now."""
    if _trusted_root is None:
        return
    path = os.readlink(f"/proc/self/fd/{fd}")
    if not path.startswith(_trusted_root.rstrip("/") + "/") or path.endswith(" (deleted)"):
        raise FileProblem("it is outside of --trusted-root")


_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO, only regular files are read",
    stat.S_IFCHR: "a device, only regular files are read",
    stat.S_IFBLK: "a device, only regular files are read",
    stat.S_IFSOCK: "a socket, only regular files are read",
}


def _bounded(data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise FileProblem(f"it is larger than {limit} bytes")
    return data


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ValueError):
        return "its name has a NUL byte"
    if error.errno == 6:  # ENXIO: a socket, or a device without a driver
        return "it is no regular file"
    return os.strerror(error.errno or 0).lower()


def exists(path: str) -> bool:
    """Return whether there is something at `path`; a dangling link is not."""
    try:
        os.stat(path)
    except (OSError, ValueError):
        found = False
    else:
        found = True
    _note("exists", path, str(found))
    return found


def is_dir(path: str) -> bool:
    """Return whether there is a directory at `path`."""
    try:
        found = stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError):
        found = False
    _note("is_dir", path, str(found))
    return found


def record() -> dict[tuple[str, str], str]:
    """Begin a record of everything that is asked from now on, and return it."""
    global _answers  # noqa: PLW0603  # the file system is global, too
    _answers = {}
    return _answers


def ask(question: str, path: str) -> str:
    """Return the answer of now to a recorded question: ``read``, ``exists`` or ``is_dir``."""
    if question == "read":
        try:
            return hexdigest(read(path))
        except FileProblem as error:
            return f"! {error}"
    return str(exists(path) if question == "exists" else is_dir(path))


def _note(question: str, path: str, answer: str) -> None:
    if _answers is not None and _answers.setdefault((question, path), answer) != answer:
        _answers[question, path] = "changed meanwhile"
