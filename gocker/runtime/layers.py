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
from errno import EINVAL, ENOTSUP, EPERM

from gocker.errors import SyscallError
from gocker.linux import fsmount
from gocker.linux import mount as m
from gocker.nested import in_user_namespace, opaque_xattr, overlay_options
from gocker.runtime import sources
from gocker.runtime.composed import Composition, mount_points
from gocker.tree import remove_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gocker.runtime.userns import User

    Hidden = tuple[tuple[str, int], ...]
    # lower, hidden, mapping, root
    Key = tuple[tuple[str, ...], Hidden, tuple[tuple[int, int, int], ...], tuple[int, ...]]

# Idle layers kept: enough for what starts at once, and bounded on disk and in mounts.
MAX_IDLE = 64
# More do not fit into the page of text that mount(2) takes.
_MOST_IN_A_PAGE = 128
_CLONE = m.OPEN_TREE_CLONE | m.AT_RECURSIVE
_STAMP = ("st_ctime_ns", "st_mtime_ns", "st_mode", "st_uid", "st_gid", "st_nlink", "st_ino")


class Layer:
    """One overlay. Owns its directory and a descriptor of its detached mount."""

    __slots__ = ("_composition", "_mount_fd", "_stamp", "_uppers", "directory", "key")

    def __init__(  # what an overlay is made of
        self, key: Key, hiding: list[str], directory: str, mountpoint: str, user: User | None,
        composition: Composition | None = None,
    ) -> None:  # fmt: skip
        self.key = key
        self.directory = directory
        self._composition = composition
        self._uppers = [self.upper]
        os.mkdir(directory, 0o700)
        try:
            if composition is None:
                _mount(hiding, key[0], directory, mountpoint, user, key[3])
            else:
                os.mkdir(f"{directory}/upper", 0o755)
                os.mkdir(f"{directory}/work", 0o700)
                self._uppers = composition.mount(hiding, directory, mountpoint)
            try:
                self._mount_fd = m.open_tree(m.AT_FDCWD, mountpoint, _CLONE)
            finally:
                m.umount(mountpoint, m.MNT_DETACH)
            self._stamp = self._read_stamp()
        except BaseException:
            remove_path(directory)
            raise

    @property
    def upper(self) -> str:
        """The directory of everything that was written."""
        return f"{self.directory}/upper"

    @property
    def name(self) -> str:
        """The name of its directory among those of all layers."""
        return os.path.basename(self.directory)

    def _read_stamp(self) -> tuple[int, ...]:
        found = [os.stat(path, follow_symlinks=False) for path in self._uppers]
        return tuple(getattr(info, name) for info in found for name in _STAMP)

    def gather(self) -> None:
        """Have all that was written in `upper`; its container has ended."""
        if self._composition is not None:
            self._composition.gather(self.directory)

    def clone(self) -> int | None:
        """Return a detached mount of its own for one container.

        None where the kernel cannot clone a detached mount (before Linux 6.15).
        """
        try:
            return m.open_tree(self._mount_fd, "", _CLONE | m.AT_EMPTY_PATH)
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
        try:
            return self._mount_fd >= 0 and self._read_stamp() == self._stamp
        except FileNotFoundError:
            return False  # the front has taken it away to keep it

    def remove(self) -> None:
        """Remove the layer and what was written to it."""
        if self._mount_fd >= 0:
            os.close(self._mount_fd)
            self._mount_fd = -1
        remove_path(self.directory)


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
        self._idle: dict[Key, list[Layer]] = {}
        self._hiding: dict[tuple[Hidden, tuple[int, int]], str] = {}
        self._compositions: dict[tuple[str, Hidden], Composition] = {}
        # Of those that hide: removed at the end, the others go with their tmpfs.
        self._on_disk: list[str] = []
        self._idle_count = 0
        self._made = 0

    def short_of_space(self) -> bool:
        """Return whether less than a tenth of the layers' file system is free."""
        disk = os.statvfs(self._directory)
        return disk.f_bavail * 10 < disk.f_blocks

    def take(
        self, lower: Sequence[str], hidden: Sequence[tuple[str, int]] = (),
        user: User | None = None, root: Sequence[int] = (),
    ) -> tuple[Layer, int]:  # fmt: skip
        """Return a layer and its mount's descriptor for a container.

        Args:
            lower: directories, topmost first.
            hidden: paths in them to show as empty directories, with their modes.
            user: the namespace whose ids the files are shown with.
            root: mode, user and group of the root directory; without, 0755 and root's.

        Raises:
            SyscallError: a lower directory is missing, the disk is full ...
            ContainerError: a lower directory's file system cannot show other ids.
        """
        ids = () if user is None else user.key
        key = (tuple(lower), tuple((path, mode) for path, mode in hidden), ids, tuple(root))
        idle = self._idle.get(key)
        if idle:
            self._idle_count -= 1
            layer = idle.pop()
        else:
            self._made += 1
            path = f"{self._directory}/{self._prefix}-L{self._made}"
            owner = (0, 0) if user is None else (user.host_uid(0), user.host_gid(0))
            hiding = self._hide(key[1], owner)
            layer = self._layer(key, hiding, path, user)
        try:
            fd = layer.clone()
        except BaseException:
            layer.remove()
            raise
        return layer, layer.original() if fd is None else fd

    def _layer(self, key: Key, hiding: list[str], path: str, user: User | None) -> Layer:
        """Make a layer; of parts, if the lower directory has mounts below that are not ours."""
        lower, hidden = key[0], key[1]
        composition = None
        if in_user_namespace() and len(lower) == 1:
            composition = self._compositions.get((lower[0], hidden))
        if composition is not None:
            return Layer(key, hiding, path, self._mountpoint, user, composition)
        try:
            return Layer(key, hiding, path, self._mountpoint, user)
        except SyscallError as error:
            if error.errno != EINVAL or not in_user_namespace() or len(lower) != 1:
                raise
        skeleton = f"{self._directory}/{self._prefix}-S{len(self._compositions)}"
        try:
            composition = Composition(lower[0], hidden, mount_points(), skeleton)
        except BaseException:
            remove_path(skeleton)
            raise
        self._compositions[(lower[0], hidden)] = composition
        return Layer(key, hiding, path, self._mountpoint, user, composition)

    def _hide(self, hidden: Hidden, owner: tuple[int, int]) -> list[str]:
        """Return the layer that hides what is below, if anything is to be hidden."""
        if not hidden:
            return []
        key = (hidden, owner)
        if key not in self._hiding:
            path = os.path.abspath(f"{self._mountpoint}-hiding-{len(self._hiding)}")
            try:
                _make_hiding(path, hidden, owner)
            except BaseException as error:
                remove_path(path)  # or the next container would find half of it in its way
                # A tmpfs has no user.* attributes before Linux 6.6: then on the disk.
                if not (isinstance(error, OSError) and error.errno == ENOTSUP):
                    raise
                path = f"{self._directory}/{self._prefix}-H{len(self._hiding)}"
                _make_hiding(path, hidden, owner)
                self._on_disk.append(path)
            self._hiding[key] = path
        return [self._hiding[key]]

    def give_back(self, layer: Layer, *, private: bool) -> None:
        """Keep an untouched layer of a container that shared nothing, remove any other."""
        if not self.keep(layer, private=private):
            layer.remove()

    def keep(self, layer: Layer, *, private: bool) -> bool:
        """Keep an untouched layer of a container that shared nothing; return whether it is kept."""
        if not private or self._idle_count >= MAX_IDLE or not layer.untouched():
            return False
        self._idle.setdefault(layer.key, []).append(layer)
        self._idle_count += 1
        return True

    def drop_idle(self) -> None:
        """Let go of idle layers: each holds a descriptor."""
        failure = self._remove_idle()
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Remove all idle layers and what they were put together from.

        One that cannot be removed keeps no other.

        Raises:
            OSError, GockerError: for the last one.
        """
        failure = self._remove_idle()
        skeletons = [item.skeleton for item in self._compositions.values()]
        for path in (*skeletons, *self._on_disk):
            try:
                remove_path(path)
            except Exception as error:
                failure = error
        self._compositions.clear()
        self._on_disk.clear()
        if failure is not None:
            raise failure

    def _remove_idle(self) -> Exception | None:
        failure: Exception | None = None
        for layers in self._idle.values():
            for layer in layers:
                try:
                    layer.remove()
                except Exception as error:
                    failure = error
        self._idle.clear()
        self._idle_count = 0
        return failure


def _make_hiding(top: str, hidden: Hidden, owner: tuple[int, int]) -> None:
    """Make a layer that hides what lies below: one opaque directory for each path.

    They belong to `owner`, who is root in the container.

    Nothing has to be mounted then, and nobody can write to it: it is a lower layer. It is on
    the scratch tmpfs, because two layers of an overlay must not lie in one another, and the
    other one may be the host's whole root (overlayfs.rst, "Sharing and copying layers").
    """
    os.mkdir(top, 0o755)
    os.chown(top, *owner)
    for path, mode in hidden:
        at = top
        for name in path.strip("/").split("/"):
            at = f"{at}/{name}"
            if not os.path.isdir(at):
                os.mkdir(at)
                os.chmod(at, 0o755)  # noqa: S103  # as the host's own directories
                os.chown(at, *owner)
        os.chmod(at, mode)
        os.setxattr(at, opaque_xattr(), b"y")


def _mount(
    hiding: list[str], lower: tuple[str, ...], directory: str, mountpoint: str, user: User | None,
    root: tuple[int, ...],
) -> None:  # fmt: skip
    """Mount the overlay. Paths go through descriptors.

    So no character of a path can become an option, and no container sees a path of the host
    in its /proc/self/mountinfo.
    """
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    fds = [os.open(directory, flags)]
    try:
        os.mkdir("upper", 0o755, dir_fd=fds[0])
        os.mkdir("work", 0o700, dir_fd=fds[0])
        fds.extend(_open(path, flags) for path in hiding)
        if user is None:
            fds.extend(_open(path, flags) for path in lower)
        else:
            # The root's own owner is the upper layer's, which is written with the ids outside.
            os.chown("upper", user.host_uid(0), user.host_gid(0), dir_fd=fds[0])
            fds.extend(_open_mapped(path, flags, user) for path in lower)
        if root:
            _set_root(fds[0], root, user)
        if len(fds) > _MOST_IN_A_PAGE:
            _mount_many(fds, mountpoint)
            return
        lowers = ":".join(f"/proc/self/fd/{fd}" for fd in fds[1:])
        layers = f"/proc/self/fd/{fds[0]}"
        # volatile: the upper layer is thrown away, so umount need not write it to disk.
        data = f"lowerdir={lowers},upperdir={layers}/upper,workdir={layers}/work,"
        data += ",".join(("volatile", *overlay_options()))
        # suid is for the container that asks for it: see `gocker.runtime.start`.
        m.mount("overlay", mountpoint, "overlay", m.MS_NODEV | m.MS_NOSUID, data)
    finally:
        for fd in fds:
            os.close(fd)


def _set_root(directory: int, root: tuple[int, ...], user: User | None) -> None:
    mode, uid, gid = root
    if user is not None:
        uid, gid = user.host_uid(uid), user.host_gid(gid)
    os.chown("upper", uid, gid, dir_fd=directory)
    os.chmod("upper", mode, dir_fd=directory)


def _mount_many(fds: list[int], mountpoint: str) -> None:
    """Mount an overlay of any number of layers; `fds`: the upper's directory, then the lowers."""
    target = os.open(mountpoint, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        made = fsmount.overlay(
            fds[1:],
            upper=fds[0],
            attributes=m.MOUNT_ATTR_NODEV | m.MOUNT_ATTR_NOSUID,
            options=("volatile",),
        )
        try:
            m.move_mount(made, target)
        finally:
            os.close(made)
    finally:
        os.close(target)


def _open_mapped(path: str, flags: int, user: User) -> int:
    """Return a lower directory as a mount of its own that shows the ids of a user namespace."""
    os.close(_open(path, flags))  # says it better if it is not there
    tree = m.open_tree(m.AT_FDCWD, path, m.OPEN_TREE_CLONE)
    try:
        sources.idmap(tree, user.fd, path)
    except BaseException:
        os.close(tree)
        raise
    return tree


def _open(path: str, flags: int) -> int:
    try:
        return os.open(path, flags)
    except OSError as error:
        raise SyscallError("open", error.errno or EINVAL, path) from error
