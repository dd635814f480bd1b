"""Device nodes and links of a container's /dev.

All is relative to one descriptor of the container's own /dev, in which no link was followed
(CVE-2026-41579, CVE-2026-47766). Source: config-linux.md "Default Devices" and "Devices";
runtime-linux.md "Dev symbolic links".
"""

from __future__ import annotations

import os
import stat

from gocker.errors import ConfigError
from gocker.linux import mount as m
from gocker.linux.path import RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, open_or_make, openat2
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


def make(root_fd: int, devices: list[oci.Device]) -> None:
    """Make the default device nodes, the configured ones, and the links."""
    dev = _open_dev(root_fd)
    try:
        make_nodes(dev, devices)
        _make_links(dev)
    finally:
        os.close(dev)


def make_links(root_fd: int) -> None:
    """Make the links alone, in a /dev whose nodes are there."""
    dev = _open_dev(root_fd)
    try:
        _make_links(dev)
    finally:
        os.close(dev)


def _open_dev(root_fd: int) -> int:
    flags = os.O_PATH | os.O_DIRECTORY
    return openat2(root_fd, "/dev", flags, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)


def _make_links(dev: int) -> None:
    for name, target in DEV_LINKS:
        os.symlink(target, name, dir_fd=dev)


def make_nodes(dev: int, devices: list[oci.Device]) -> None:
    """Make the nodes with the ids as they are written."""
    for name, major, minor in DEFAULT_DEVICES:
        os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(major, minor), dir_fd=dev)
    for device in devices:
        _make_node(dev, device)


def _make_node(dev: int, device: oci.Device) -> None:
    relative = device["path"].removeprefix("/dev/")
    if relative == device["path"] or relative in (name for name, _, _ in DEFAULT_DEVICES):
        if relative == device["path"]:
            raise ConfigError(f"device {relative!r} is not below /dev", phase="devices")
        return
    parent, _, name = relative.rpartition("/")
    parent_fd = open_or_make(dev, parent, directory=True) if parent else os.dup(dev)
    try:
        mode = _KINDS[device["type"]] | device.get("fileMode", 0o666)
        number = os.makedev(device.get("major", 0), device.get("minor", 0))
        os.mknod(name, mode, number, dir_fd=parent_fd)
        os.chown(name, device.get("uid", 0), device.get("gid", 0), dir_fd=parent_fd)
    finally:
        os.close(parent_fd)


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
    fd = m.new_mount("tmpfs", (("source", "tmpfs"), *data), options.bind_attributes)
    make_nodes(fd, devices)
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
