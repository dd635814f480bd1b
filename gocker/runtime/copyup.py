"""The mount option ``tmpcopyup``: a tmpfs that begins with what it covers.

Source: runtime-spec config.md "Linux mount options", tmpcopyup.
"""

from __future__ import annotations

import os
import stat
from errno import ENOTSUP

from gocker.errors import ConfigError
from gocker.linux import mount as m

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker import oci
    from gocker.runtime.options import MountOptions

_CHUNK = 1 << 20


def mount(target: int, entry: oci.Mount, options: MountOptions) -> None:
    """Mount a tmpfs with a copy of the directory `target` on it.

    Raises:
        ConfigError: for another file system.
        OSError: it does not fit ...
    """
    if entry.get("type") != "tmpfs":
        raise ConfigError(f"mount {entry['destination']!r}: tmpcopyup is for tmpfs", phase="mounts")
    data = [item.partition("=")[::2] for item in options.data.split(",") if item]
    if not any(key == "mode" for key, _ in data):
        data.append(("mode", f"{stat.S_IMODE(os.fstat(target).st_mode):o}"))
    # Read-only only when it is full.
    writable = options.bind_set & ~m.MOUNT_ATTR_RDONLY
    source = entry.get("source", "tmpfs")
    tree = m.new_mount("tmpfs", (("source", source), *data), writable)
    try:
        below = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=target)
        try:
            _copy_directory(below, tree)
        finally:
            os.close(below)
        if options.bind_set & m.MOUNT_ATTR_RDONLY:
            m.mount_setattr(tree, "", attr_set=m.MOUNT_ATTR_RDONLY)
        m.move_mount(tree, target)
    finally:
        os.close(tree)


def _copy_directory(source: int, to: int) -> None:
    """Copy what is in a directory; no link is followed in either."""
    for name in os.listdir(source):
        info = os.stat(name, dir_fd=source, follow_symlinks=False)
        _copy_entry(source, to, name, info)
        os.chown(name, info.st_uid, info.st_gid, dir_fd=to, follow_symlinks=False)
        if not stat.S_ISLNK(info.st_mode):
            # After chown(2), which takes setuid bits away.
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=to)
            os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(info.st_mode))
            os.close(fd)
        times = (info.st_atime_ns, info.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=to, follow_symlinks=False)


def _copy_entry(source: int, to: int, name: str, info: os.stat_result) -> None:
    if stat.S_ISDIR(info.st_mode):
        os.mkdir(name, 0o700, dir_fd=to)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        inner, copy = os.open(name, flags, dir_fd=source), os.open(name, flags, dir_fd=to)
        try:
            _copy_directory(inner, copy)
            _copy_attributes(inner, copy)
        finally:
            os.close(inner)
            os.close(copy)
    elif stat.S_ISREG(info.st_mode):
        _copy_file(source, to, name)
    elif stat.S_ISLNK(info.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=to)
    else:
        os.mknod(name, info.st_mode, info.st_rdev, dir_fd=to)


def _copy_file(source: int, to: int, name: str) -> None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    made = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    inner = os.open(name, flags, dir_fd=source)
    copy = os.open(name, made, 0o600, dir_fd=to)
    try:
        while os.sendfile(copy, inner, None, _CHUNK):
            pass
        _copy_attributes(inner, copy)
    finally:
        os.close(inner)
        os.close(copy)


def _copy_attributes(source: int, to: int) -> None:
    for name in os.listxattr(source):
        try:
            os.setxattr(to, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno != ENOTSUP:  # user.* before Linux 6.6, security.* of no LSM
                raise
