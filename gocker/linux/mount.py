"""mount(2), umount2(2), pivot_root(2), and the calls that mount by descriptors.

open_tree(2), move_mount(2), mount_setattr(2); fsopen(2), fsconfig(2), fsmount(2).
"""

from __future__ import annotations

import ctypes
import os
from errno import ENOENT, ENOTDIR

from gocker.linux.libc import INT, LONG, PTR, STR, UINT, ULONG, encode, failed, prototype, syscall

# include/uapi/linux/mount.h
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_MANDLOCK = 64
MS_DIRSYNC = 128
MS_NOSYMFOLLOW = 256
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_SILENT = 32768
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_I_VERSION = 1 << 23
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25

MNT_DETACH = 2

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6

# include/uapi/linux/fcntl.h
AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = 0o2000000
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40

_mount = prototype("mount", STR, STR, STR, ULONG, STR)
_umount2 = prototype("umount2", STR, INT)
_pivot_root = syscall("pivot_root", STR, STR)
_open_tree = syscall("open_tree", INT, STR, UINT)
_move_mount = syscall("move_mount", INT, STR, INT, STR, UINT)
_mount_setattr = syscall("mount_setattr", INT, STR, UINT, PTR, LONG)
_fsopen = syscall("fsopen", STR, UINT)
_fsconfig = syscall("fsconfig", INT, UINT, STR, STR, INT)
_fsmount = syscall("fsmount", INT, UINT, UINT)


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def mount(
    source: str | None, target: str, fstype: str | None, flags: int, data: str | None = None
) -> None:
    """mount(2). A relative `target` is below the working directory.

    Raises:
        SyscallError: with source, fstype and flags in its context.
    """
    if _mount(encode(source), encode(target), encode(fstype), flags, encode(data)) < 0:
        raise failed("mount", target, source=source, fstype=fstype, flags=flags, data=data)


def bind(source: str, target: str) -> int:
    """Bind `source` with all below it on `target`; return 0, ENOENT or ENOTDIR.

    For paths that may be missing, dozens of times per container: without making an exception.

    Raises:
        SyscallError: any other errno.
    """
    if _mount(source.encode(), target.encode(), None, MS_BIND | MS_REC, None) == 0:
        return 0
    errno = ctypes.get_errno()
    if errno not in (ENOENT, ENOTDIR):
        raise failed("mount", target, source=source, flags=MS_BIND | MS_REC)
    return errno


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    if _umount2(encode(target), flags) < 0:
        raise failed("umount2", target, flags=flags)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2); with "." twice the old root lies over the new one, to be detached."""
    if _pivot_root(encode(new_root), encode(put_old)) < 0:
        raise failed("pivot_root", new_root)


def open_tree(dir_fd: int, path: str, flags: int) -> int:
    """open_tree(2): with OPEN_TREE_CLONE, return a descriptor of a detached copy of the mount."""
    fd = _open_tree(dir_fd, encode(path), flags | OPEN_TREE_CLOEXEC)
    if fd < 0:
        raise failed("open_tree", path, flags=flags)
    return fd


def move_mount(from_fd: int, to_fd: int) -> None:
    """move_mount(2) from descriptor to descriptor: no path is resolved again."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    if _move_mount(from_fd, b"", to_fd, b"", flags) < 0:
        raise failed("move_mount")


def mount_setattr(
    dir_fd: int, path: str, *, attr_set: int = 0, attr_clr: int = 0, propagation: int = 0,
    recursive: bool = False, userns_fd: int = -1,
) -> None:  # fmt: skip
    """mount_setattr(2), Linux 5.12: the one call that changes a whole tree of mounts.

    `userns_fd`: a user namespace whose mapping the mounts get (MOUNT_ATTR_IDMAP); they must not
    have one yet, and be detached.
    """
    if userns_fd >= 0:
        attr_set |= MOUNT_ATTR_IDMAP
    attr = _MountAttr(attr_set, attr_clr, propagation, max(userns_fd, 0))
    flags = (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    result = _mount_setattr(
        dir_fd, encode(path), flags, ctypes.addressof(attr), ctypes.sizeof(attr)
    )
    if result < 0:
        raise failed("mount_setattr", path, attr_set=attr_set, attr_clr=attr_clr)


def new_mount(fstype: str, options: tuple[tuple[str, str], ...], attributes: int) -> int:
    """Return a descriptor of a detached mount of a new file system (fsopen(2), Linux 5.2).

    `options` go one by one as key and value: no character of a value becomes another option.
    """
    fs_fd = _fsopen(encode(fstype), FSOPEN_CLOEXEC)
    if fs_fd < 0:
        raise failed("fsopen", fstype)
    try:
        for key, value in options:
            if _fsconfig(fs_fd, FSCONFIG_SET_STRING, encode(key), encode(value), 0) < 0:
                raise failed("fsconfig", fstype, key=key, value=value)
        if _fsconfig(fs_fd, FSCONFIG_CMD_CREATE, None, None, 0) < 0:
            raise failed("fsconfig", fstype)
        fd = _fsmount(fs_fd, FSMOUNT_CLOEXEC, attributes)
        if fd < 0:
            raise failed("fsmount", fstype)
        return fd
    finally:
        os.close(fs_fd)
