"""This process's own procfs, opened once and verified; files in it by descriptor.

Security settings are written through procfs. A path could lead to a file that a container put
there (CVE-2019-16884, CVE-2025-52881): so all goes through one descriptor of the launcher's
procfs, without links and without crossing another mount. Source: statfs(2), proc(5).
"""

from __future__ import annotations

import ctypes
import os
from errno import EINVAL

from gocker.errors import HostError, SyscallError
from gocker.linux.libc import INT, PTR, failed, prototype
from gocker.linux.path import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV, openat2

PROC_SUPER_MAGIC = 0x9FA0  # include/uapi/linux/magic.h
_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS
_STATFS_SIZE = 256  # struct statfs has 120 bytes on 64-bit machines

_fstatfs = prototype("fstatfs", INT, PTR)
_root = -1


def fs_magic(fd: int) -> int:
    """Return f_type of the file system that a descriptor is on."""
    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    if _fstatfs(fd, ctypes.addressof(buffer)) < 0:
        raise failed("fstatfs")
    return ctypes.c_long.from_buffer(buffer).value


def root() -> int:
    """Return a descriptor of /proc, opened at the first call and then kept.

    Raises:
        HostError: /proc is no procfs.
    """
    global _root  # noqa: PLW0603  # one per process, and for the children that it makes
    if _root < 0:
        fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if fs_magic(fd) != PROC_SUPER_MAGIC:
            os.close(fd)
            raise HostError("/proc is not procfs", hint="mount -t proc proc /proc")
        _root = fd
    return _root


def open_file(path: str, flags: int) -> int:
    """Open a path below /proc; ``self`` and ``thread-self`` are followed, nothing else.

    Raises:
        SyscallError: with the path.
    """
    return openat2(root(), path, flags, _RESOLVE)


def open_namespace(path: str) -> int:
    """Open a file of /proc/PID/ns, a link of the kernel's own kind, for setns(2)."""
    return openat2(root(), path, os.O_RDONLY, 0)


def write(path: str, text: str) -> None:
    """Write one value to a file below /proc.

    Raises:
        SyscallError: with the path and the value.
    """
    fd = open_file(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise SyscallError("write", error.errno or EINVAL, f"/proc/{path}", value=text) from error
    finally:
        os.close(fd)


def read(path: str) -> bytes:
    """Return what a file below /proc holds, at most 64 KiB."""
    fd = open_file(path, os.O_RDONLY)
    try:
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)
