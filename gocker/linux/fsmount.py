"""fsopen(2), fsconfig(2), fsmount(2): a mount made by descriptor, without a path or a page of text.

mount(2) takes its options in one page, which is about 200 layers of an overlay. Here each is a
call of its own (``lowerdir+``, Linux 6.5), up to the 500 that overlayfs can stack.
Source: fsconfig(2), include/uapi/linux/mount.h, fs/overlayfs/params.c.
"""

from __future__ import annotations

from errno import EINVAL

from gocker.errors import HostError, SyscallError
from gocker.linux.libc import INT, STR, UINT, encode, failed, prototype, syscall
from gocker.nested import overlay_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6

_fsopen = syscall("fsopen", STR, UINT)
_fsconfig = syscall("fsconfig", INT, UINT, STR, STR, INT)
_fsmount = syscall("fsmount", INT, UINT, UINT)
_close = prototype("close", INT)
_syncfs = prototype("syncfs", INT)


def fsconfig(fd: int, command: int, key: str | None = None, value: str | None = None) -> None:
    """fsconfig(2)."""
    if _fsconfig(fd, command, encode(key), encode(value), 0) < 0:
        raise failed("fsconfig", key, value=value)


def overlay(
    lower: Iterable[int], *, upper: int = -1, attributes: int = 0, options: Iterable[str] = ()
) -> int:
    """Return a descriptor of a new, detached overlay mount.

    Args:
        lower: descriptors of the lower directories, topmost first.
        upper: descriptor of a directory with ``upper`` and ``work``, or -1 for a read-only one.
        attributes: MOUNT_ATTR_* of the mount.
        options: flags as ``volatile``.

    Raises:
        HostError: before Linux 6.5, which has no ``lowerdir+``.
        SyscallError: the kernel's other reasons.
    """
    context = _fsopen(b"overlay", FSOPEN_CLOEXEC)
    if context < 0:
        raise failed("fsopen", "overlay")
    try:
        for fd in lower:
            try:
                fsconfig(context, FSCONFIG_SET_STRING, "lowerdir+", f"/proc/self/fd/{fd}")
            except SyscallError as error:
                if error.errno != EINVAL:
                    raise
                raise HostError(
                    "this kernel mounts no overlay with as many layers",
                    hint="Linux 6.5 or newer does; or squash the image",
                ) from error
        if upper >= 0:
            fsconfig(context, FSCONFIG_SET_STRING, "upperdir", f"/proc/self/fd/{upper}/upper")
            fsconfig(context, FSCONFIG_SET_STRING, "workdir", f"/proc/self/fd/{upper}/work")
        for option in (*options, *overlay_options()):
            fsconfig(context, FSCONFIG_SET_FLAG, option)
        fsconfig(context, FSCONFIG_CMD_CREATE)
        fd = _fsmount(context, FSMOUNT_CLOEXEC, attributes)
        if fd < 0:
            raise failed("fsmount", "overlay")
        return fd
    finally:
        _close(context)


def syncfs(fd: int) -> None:
    """syncfs(2): return when all of the file system that `fd` is on has been written.

    Raises:
        SyscallError: EIO, ENOSPC or EDQUOT of a write that was still to be made.
    """
    if _syncfs(fd) < 0:
        raise failed("syncfs")
