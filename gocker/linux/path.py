"""openat2(2): paths of an untrusted tree, resolved by the kernel inside that tree."""

from __future__ import annotations

import ctypes
import os
from errno import EAGAIN, ENOENT

from gocker.errors import SyscallError
from gocker.linux.libc import INT, LONG, PTR, STR, encode, failed, syscall

# include/uapi/linux/openat2.h
RESOLVE_NO_XDEV = 0x1
RESOLVE_NO_MAGICLINKS = 0x2
RESOLVE_NO_SYMLINKS = 0x4
RESOLVE_BENEATH = 0x8
RESOLVE_IN_ROOT = 0x10

_RETRIES = 32
_MAX_LINKS = 40  # as the kernel, path_resolution(7)


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_openat2 = syscall("openat2", INT, STR, PTR, LONG)


def openat2(dir_fd: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    """openat2(2), Linux 5.6; O_CLOEXEC is added.

    EAGAIN, which the kernel returns when a rename raced with RESOLVE_IN_ROOT, is retried.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(_RETRIES):
        fd = _openat2(dir_fd, encode(path), ctypes.addressof(how), ctypes.sizeof(how))
        if fd >= 0:
            return fd
        if ctypes.get_errno() != EAGAIN:
            break
    raise failed("openat2", path, flags=flags, resolve=resolve)


def open_in_root(root_fd: int, path: str, flags: int, mode: int = 0) -> int:
    """Open `path` as a process would whose root is `root_fd`; links cannot lead out of it."""
    return openat2(root_fd, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, mode)


def open_or_make(
    root_fd: int, path: str, *, directory: bool, mode: int = 0o755, links: int = _MAX_LINKS
) -> int:
    """Return an O_PATH descriptor of `path` in the root, made if missing (parents too).

    Each missing component is made relative to its parent's descriptor, so that a link
    swapped in meanwhile cannot redirect it (CVE-2024-45310). Of a link that leads nowhere,
    the target is made, inside the root; `links` says how many are followed.
    """
    kind = os.O_PATH | (os.O_DIRECTORY if directory else 0)
    try:
        return open_in_root(root_fd, path, kind)
    except SyscallError as error:
        if error.errno != ENOENT:
            raise
    parent, _, name = path.rstrip("/").rpartition("/")
    parent_fd = open_or_make(root_fd, parent or "/", directory=True)
    try:
        target = _target(parent_fd, name) if links else None
        if target is None:
            _make(parent_fd, name, directory=directory, mode=mode)
            return openat2(parent_fd, name, kind, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    finally:
        os.close(parent_fd)
    joined = target if target.startswith("/") else f"{parent}/{target}"
    return open_or_make(root_fd, joined, directory=directory, mode=mode, links=links - 1)


def _target(parent_fd: int, name: str) -> str | None:
    """Return what a link names, or None if there is no link."""
    try:
        return os.readlink(name, dir_fd=parent_fd)
    except OSError:
        return None


def _make(parent_fd: int, name: str, *, directory: bool, mode: int) -> None:
    try:
        if directory:
            os.mkdir(name, mode, dir_fd=parent_fd)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, mode, dir_fd=parent_fd))
    except FileExistsError:
        pass  # made meanwhile, or a dangling link: the open that follows decides
