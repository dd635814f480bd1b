"""What a container's mounts are cloned from, opened before any of its namespaces is entered.

Each bind source is resolved once, here, as the host's root: what is moved into the container
later is this very mount, whatever became of the path (CVE-2024-1753, CVE-2024-23651). In a user
namespace its root could not reach most sources, nor give them its own mapping.
"""

from __future__ import annotations

import os

from gocker.errors import ConfigError, ContainerError, SyscallError
from gocker.linux import mount as m
from gocker.runtime import devices, userns
from gocker.runtime.options import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gocker import oci
    from gocker.runtime.options import MountOptions

    # uidMappings and gidMappings
    Ids = tuple[Sequence[oci.IDMapping], Sequence[oci.IDMapping]]


def open_all(config: oci.Config, user_fd: int, ids: Ids) -> dict[int, int]:
    """Return a detached mount for each bind mount, by its place in `mounts`.

    `user_fd`: the container's user namespace, with the mappings `ids`, or -1. With one, /dev
    comes from here, too.

    Raises:
        SyscallError: with the mount's destination and source in its context.
        ConfigError: a mapping is asked for and none is given.
    """
    trees = {}
    for number, entry in enumerate(config.get("mounts", ())):
        if is_bind(entry):
            trees[number] = _bind(entry, user_fd)
        elif user_fd >= 0 and _is_dev(entry):
            trees[number] = _dev(config, entry, ids)
    return trees


def add_sysfs(config: oci.Config, trees: dict[int, int]) -> None:
    """Add the mounts of sysfs to `trees`, made as the host's root in the container's network.

    Who made that network decides who may mount a sysfs that shows it, and a container's user
    namespace made none that was ready before.
    """
    for number, entry in enumerate(config.get("mounts", ())):
        if entry.get("type") == "sysfs" and number not in trees:
            options = parse(tuple(entry.get("options") or ()))
            trees[number] = m.new_mount("sysfs", (), options.bind_attributes)


def is_bind(entry: oci.Mount) -> bool:
    """Return whether an existing tree is mounted: "bind" is a type or an option."""
    return entry.get("type") == "bind" or bool(
        parse(tuple(entry.get("options") or ())).flags & m.MS_BIND
    )


def _bind(entry: oci.Mount, user_fd: int) -> int:
    """Clone the tree and set its attributes while nobody sees it."""
    options = parse(tuple(entry.get("options") or ()))
    recursive = bool(options.flags & m.MS_REC)
    source = entry["source"]
    try:
        tree = m.open_tree(
            m.AT_FDCWD, source, m.OPEN_TREE_CLONE | (m.AT_RECURSIVE if recursive else 0)
        )
        propagation = sum(options.propagation) & ~m.MS_REC or m.MS_PRIVATE
        m.mount_setattr(tree, "", attr_set=options.bind_attributes, propagation=propagation,
                        recursive=recursive)  # fmt: skip
        if options.attr_set or options.attr_clr:
            m.mount_setattr(tree, "", attr_set=options.attr_set, attr_clr=options.attr_clr,
                            recursive=True)  # fmt: skip
    except SyscallError as error:
        error.context |= {"destination": entry["destination"], "source": source}
        raise
    if options.idmap:
        _idmap(tree, entry, options, user_fd)
    return tree


def _idmap(tree: int, entry: oci.Mount, options: MountOptions, user_fd: int) -> None:
    """Give a detached tree the mount's own mapping, or that of the container."""
    uids, gids = entry.get("uidMappings"), entry.get("gidMappings")
    own_fd = -1
    if uids or gids:
        own_fd = user_fd = userns.make(uids or [], gids or [])
    elif user_fd < 0:
        raise ConfigError(
            f"mount {entry['destination']!r}: {options.idmap} needs uidMappings and gidMappings, "
            "of the mount or of the container",
            phase="mounts",
        )
    try:
        idmap(tree, user_fd, entry["source"], recursive=options.idmap == "ridmap")
    finally:
        if own_fd >= 0:
            os.close(own_fd)


def idmap(tree: int, user_fd: int, source: str, *, recursive: bool = False) -> None:
    """Show a detached tree's files with the ids of a user namespace.

    Raises:
        ContainerError: phase mounts; the file system cannot.
    """
    try:
        m.mount_setattr(tree, "", userns_fd=user_fd, recursive=recursive)
    except SyscallError as error:
        raise ContainerError(
            f"cannot map the owners of {source!r} into the user namespace: {error.strerror}",
            hint="its file system has no idmapped mounts, or is mapped already: "
            "use userns_mode: host, or keep it on ext4, xfs, btrfs or tmpfs",
            phase="mounts",
        ) from error


def clone_root(path: str) -> int:
    """Return a detached clone of the tree at `path`, private, with all mounts below.

    Raises:
        SyscallError: it is not there ...
    """
    tree = m.open_tree(m.AT_FDCWD, path, m.OPEN_TREE_CLONE | m.AT_RECURSIVE)
    m.mount_setattr(tree, "", propagation=m.MS_PRIVATE, recursive=True)
    return tree


def _is_dev(entry: oci.Mount) -> bool:
    return entry["destination"].rstrip("/") == "/dev" and entry.get("type") == "tmpfs"


def _dev(config: oci.Config, entry: oci.Mount, ids: Ids) -> int:
    options = parse(tuple(entry.get("options") or ()))
    return devices.new_dev(options, config.get("linux", {}).get("devices", []), *ids)
