"""Device nodes and links of a container's /dev.

All is relative to one descriptor of the container's own /dev, in which no link was followed
(CVE-2026-41579, CVE-2026-47766). Source: config-linux.md "Default Devices" and "Devices";
runtime-linux.md "Dev symbolic links".
"""

from __future__ import annotations

import os
import stat
from errno import ENOENT

from gocker.errors import ConfigError, SyscallError
from gocker.linux import mount as m
from gocker.linux.path import RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, open_or_make, openat2
from gocker.nested import in_user_namespace
from gocker.runtime import userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gocker import oci
    from gocker.runtime.options import MountOptions

# config-linux.md "Default Devices": name, major, minor.
DEFAULT_DEVICES = (
    ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9),
    ("tty", 5, 0),
)  # fmt: skip
DEV_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)
_KINDS = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def make(root_fd: int, config: oci.Config, *, nodes: bool = True) -> None:
    """Make the default device nodes, the configured ones, and the links.

    Nothing in a /dev that is bound from elsewhere: it has what it has. `nodes`: False if
    they are there already.

    Raises:
        ConfigError: a device that cannot be.
    """
    devices: list[oci.Device] = config.get("linux", {}).get("devices") or []
    if nodes:
        for device in devices:
            if not device["path"].startswith("/dev/"):
                _make_node(root_fd, device, device["path"])
    if is_bound(config):
        return
    dev = _open_dev(root_fd)
    try:
        if nodes:
            make_nodes(dev, devices)
        _make_links(dev, config)
    finally:
        os.close(dev)


def _make_links(dev: int, config: oci.Config) -> None:
    for name, target in DEV_LINKS:
        try:
            os.symlink(target, name, dir_fd=dev)
        except FileExistsError:
            if is_own(config):
                raise


def bind(root_fd: int, config: oci.Config) -> None:
    """Bind the host's devices in place of nodes, which only the host's root can make.

    Raises:
        ConfigError: one that the host does not have under its path.
    """
    devices: list[oci.Device] = config.get("linux", {}).get("devices") or []
    if not is_bound(config):
        dev = _open_dev(root_fd)
        try:
            for name, major, minor in DEFAULT_DEVICES:
                number = os.makedev(major, minor)
                _bind_or_check(dev, name, f"/dev/{name}", stat.S_IFCHR, number)
            _make_links(dev, config)
        finally:
            os.close(dev)
    for device in devices:
        parent, _, name = device["path"].rstrip("/").rpartition("/")
        parent_fd = open_or_make(root_fd, parent, directory=True)
        try:
            number = os.makedev(device.get("major", 0), device.get("minor", 0))
            kind = _KINDS.get(device["type"], 0)
            _bind_or_check(parent_fd, name, device["path"], kind, number)
        finally:
            os.close(parent_fd)


def _bind_or_check(at: int, name: str, path: str, kind: int, number: int) -> None:
    try:
        _bind_node(at, name, path, kind, number)
    except FileExistsError:
        _check_there(at, name, path, kind, number)


def is_own(config: oci.Config) -> bool:
    """Return whether /dev is a tmpfs of the container's own."""
    return any(
        entry.get("type") == "tmpfs" and entry["destination"].rstrip("/") == "/dev"
        for entry in config.get("mounts", ())
    )


def is_bound(config: oci.Config) -> bool:
    """Return whether /dev is a bind mount."""
    return any(
        entry["destination"].rstrip("/") == "/dev" and entry.get("type") in ("bind", "none", "")
        for entry in config.get("mounts", ())
    )


def _open_dev(root_fd: int) -> int:
    """Return /dev itself: no link leads to it (CVE-2026-41579)."""
    flags = os.O_PATH | os.O_DIRECTORY
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS
    try:
        return openat2(root_fd, "/dev", flags, resolve)
    except SyscallError as error:
        if error.errno != ENOENT:
            raise ConfigError(
                "'/dev' in the rootfs is not a plain directory",
                hint="an image must not replace it by a link or a file",
                phase="devices",
            ) from error
    os.close(open_or_make(root_fd, "/dev", directory=True))
    return openat2(root_fd, "/dev", flags, resolve)


def make_nodes(dev: int, devices: list[oci.Device]) -> None:
    """Make the nodes of /dev with the ids as they are written."""
    named = {device["path"] for device in devices}
    for name, major, minor in DEFAULT_DEVICES:
        if f"/dev/{name}" not in named:
            number = os.makedev(major, minor)
            path = f"/dev/{name}"
            try:
                if in_user_namespace():
                    _bind_node(dev, name, path, stat.S_IFCHR, number)
                else:
                    os.mknod(name, stat.S_IFCHR | 0o666, number, dir_fd=dev)
            except FileExistsError:
                _check_there(dev, name, path, stat.S_IFCHR, number)
    for device in devices:
        if device["path"].startswith("/dev/"):
            _make_node(dev, device, device["path"].removeprefix("/dev/"))


def _make_node(top: int, device: oci.Device, path: str) -> None:
    kind = _KINDS.get(device["type"])
    if kind is None or not path.strip("/") or (kind != stat.S_IFIFO and "major" not in device):
        raise ConfigError(
            f"device {device['path']!r}: of type {device['type']!r} without a number",
            hint="type c, b, u with major and minor, or p",
            phase="devices",
        )
    parent, _, name = path.rstrip("/").rpartition("/")
    parent_fd = open_or_make(top, parent, directory=True) if parent else os.dup(top)
    try:
        mode = kind | device.get("fileMode", 0o666)
        number = os.makedev(device.get("major", 0), device.get("minor", 0))
        try:
            if in_user_namespace() and kind != stat.S_IFIFO:
                _bind_node(parent_fd, name, device["path"], kind, number)
                return  # with the host's owner and mode, which are not ours to change
            os.mknod(name, mode, number, dir_fd=parent_fd)
        except FileExistsError:
            _check_there(parent_fd, name, device["path"], kind, number)
        os.chown(name, device.get("uid", 0), device.get("gid", 0), dir_fd=parent_fd,
                 follow_symlinks=False)  # fmt: skip
    finally:
        os.close(parent_fd)


def _bind_node(at: int, name: str, path: str, kind: int, number: int) -> None:
    """Bind the host's own node, where root of a user namespace may make none.

    Raises:
        ConfigError: the host has no such device at this path.
        FileExistsError: the name is taken.
    """
    try:
        source = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _no_node(path) from error
    try:
        info = os.fstat(source)
        if stat.S_IFMT(info.st_mode) != kind or info.st_rdev != number:
            raise _no_node(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        target = os.open(name, flags, 0o600, dir_fd=at)
        try:
            m.mount(f"/proc/self/fd/{source}", f"/proc/self/fd/{target}", None, m.MS_BIND)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _no_node(path: str) -> ConfigError:
    return ConfigError(
        f"device {path!r}: the host has no such device there, and an ordinary user makes none",
        hint="name it as the host does, or run gocker as root",
        phase="devices",
    )


def _check_there(at: int, name: str, path: str, kind: int, number: int) -> None:
    """Accept what is there already only if it is that very device (config-linux.md)."""
    info = os.stat(name, dir_fd=at, follow_symlinks=False)
    if stat.S_IFMT(info.st_mode) != kind or (kind != stat.S_IFIFO and info.st_rdev != number):
        raise ConfigError(
            f"device {path!r}: something else is there", phase="devices",
            hint="remove it from the image, or mount a tmpfs on /dev",
        )  # fmt: skip


def new_dev(
    options: MountOptions, devices: list[oci.Device], uids: Sequence[oci.IDMapping],
    gids: Sequence[oci.IDMapping],
) -> int:  # fmt: skip
    """Return a detached tmpfs with the nodes, all owned by ids of a user namespace.

    Made by the host's root: nodes on a file system of the user namespace's own do not work.

    Raises:
        ConfigError: an owner that is not mapped.
    """
    data = [item.partition("=")[::2] for item in options.data.split(",") if item]
    fd = m.new_mount("tmpfs", (("source", "tmpfs"), *data), options.bind_set)
    before = os.umask(0)
    try:
        make_nodes(fd, devices)
    finally:
        os.umask(before)
    _shift(fd, ".", uids, gids)
    for directory, names, files, at in os.fwalk(".", dir_fd=fd):
        del directory
        for name in (*names, *files):
            _shift(at, name, uids, gids)
    return fd


def _shift(
    at: int, name: str, uids: Sequence[oci.IDMapping], gids: Sequence[oci.IDMapping]
) -> None:
    info = os.stat(name, dir_fd=at, follow_symlinks=False)
    uid, gid = userns.host_id(uids, info.st_uid), userns.host_id(gids, info.st_gid)
    if uid is None or gid is None:
        raise ConfigError(
            f"device {name!r}: its owner {info.st_uid}:{info.st_gid} is not mapped",
            phase="devices",
        )
    os.chown(name, uid, gid, dir_fd=at, follow_symlinks=False)
