"""Overlay mounts with an empty upper layer, made once and used again while still empty.

Making one costs several directories on the disk and a mount, which is more than everything
else that starts a container. So the launcher keeps each as a detached mount, and a container
gets a clone of it. When the container is gone, its upper directory tells whether anything was
ever written: every creation, removal, copy-up, chmod or chown of the root changes the
directory's ctime. An untouched layer is handed to the next container; any other is removed.

A container that could have given a descriptor of its root to another one (a shared volume or
network can carry a socket) never hands its layer on.
"""

from __future__ import annotations

import os
from errno import EINVAL, EPERM

from gocker import tree
from gocker.errors import SyscallError
from gocker.linux import mount as m

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Idle layers kept: enough for what starts at once, and bounded on disk and in mounts.
MAX_IDLE = 64
_STAMP = ("st_ctime_ns", "st_mtime_ns", "st_mode", "st_uid", "st_gid", "st_nlink", "st_ino")


class Layer:
    """One overlay. Owns its directory and a descriptor of its detached mount."""

    __slots__ = ("_mount_fd", "_stamp", "directory", "lower")

    def __init__(self, lower: tuple[str, ...], directory: str, mountpoint: str) -> None:
        self.lower = lower
        self.directory = directory
        os.mkdir(directory, 0o700)
        try:
            _mount(lower, directory, mountpoint)
            try:
                self._mount_fd = m.open_tree(m.AT_FDCWD, mountpoint, m.OPEN_TREE_CLONE)
            finally:
                m.umount(mountpoint, m.MNT_DETACH)
            self._stamp = self._read_stamp()
        except BaseException:
            tree.remove_tree(directory)
            raise

    def _read_stamp(self) -> tuple[int, ...]:
        info = os.stat(f"{self.directory}/upper", follow_symlinks=False)
        return tuple(getattr(info, name) for name in _STAMP)

    def clone(self) -> int | None:
        """Return a detached mount of its own for one container.

        None where the kernel cannot clone a detached mount (before Linux 6.15).
        """
        try:
            return m.open_tree(self._mount_fd, "", m.OPEN_TREE_CLONE | m.AT_EMPTY_PATH)
        except SyscallError as error:
            if error.errno in (EINVAL, EPERM):
                return None
            raise

    def original(self) -> int:
        """Return the mount itself, which then is the container's: the layer serves once."""
        fd, self._mount_fd = self._mount_fd, -1
        return fd

    def untouched(self) -> bool:
        """Return whether nothing was ever written, and another container can be served."""
        return self._mount_fd >= 0 and self._read_stamp() == self._stamp

    def remove(self) -> None:
        """Remove the layer and what was written to it."""
        if self._mount_fd >= 0:
            os.close(self._mount_fd)
            self._mount_fd = -1
        tree.remove_tree(self.directory)


class Layers:
    """All overlays of one launcher.

    Args:
        directory: where layers are made, by names that begin with `prefix`.
        mountpoint: an empty directory that only this process mounts on.
    """

    def __init__(self, directory: str, prefix: str, mountpoint: str) -> None:
        self._directory = directory
        self._prefix = prefix
        self._mountpoint = mountpoint
        self._idle: dict[tuple[str, ...], list[Layer]] = {}
        self._idle_count = 0
        self._made = 0

    def take(self, lower: Sequence[str]) -> tuple[Layer, int]:
        """Return a layer over `lower` (topmost first) and its mount's descriptor for a container.

        Raises:
            SyscallError: a lower directory is missing, the disk is full ...
        """
        key = tuple(lower)
        idle = self._idle.get(key)
        if idle:
            self._idle_count -= 1
            layer = idle.pop()
        else:
            self._made += 1
            path = f"{self._directory}/{self._prefix}-L{self._made}"
            layer = Layer(key, path, self._mountpoint)
        fd = layer.clone()
        return layer, layer.original() if fd is None else fd

    def give_back(self, layer: Layer, *, private: bool) -> None:
        """Keep an untouched layer of a container that shared nothing, remove any other."""
        if private and self._idle_count < MAX_IDLE and layer.untouched():
            self._idle.setdefault(layer.lower, []).append(layer)
            self._idle_count += 1
        else:
            layer.remove()

    def close(self) -> None:
        """Remove all idle layers."""
        for layers in self._idle.values():
            for layer in layers:
                layer.remove()
        self._idle.clear()


def _mount(lower: tuple[str, ...], directory: str, mountpoint: str) -> None:
    """Mount the overlay. Paths go through descriptors.

    So no character of a path can become an option, and no container sees a path of the host
    in its /proc/self/mountinfo.
    """
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    fds = [os.open(directory, flags)]
    try:
        os.mkdir("upper", 0o755, dir_fd=fds[0])
        os.mkdir("work", 0o700, dir_fd=fds[0])
        for path in lower:
            fds.append(_open(path, flags))
        lowers = ":".join(f"/proc/self/fd/{fd}" for fd in fds[1:])
        layers = f"/proc/self/fd/{fds[0]}"
        # volatile: the upper layer is thrown away, so umount need not write it to disk.
        data = f"lowerdir={lowers},upperdir={layers}/upper,workdir={layers}/work,volatile"
        m.mount("overlay", mountpoint, "overlay", m.MS_NODEV, data)
    finally:
        for fd in fds:
            os.close(fd)


def _open(path: str, flags: int) -> int:
    try:
        return os.open(path, flags)
    except OSError as error:
        raise SyscallError("open", error.errno or EINVAL, path) from error
