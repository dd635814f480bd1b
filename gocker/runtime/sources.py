"""What a container's mounts are cloned from, opened before any of its namespaces is entered.

Each bind source is resolved once, here, as the host's root: what is moved into the container
later is this very mount, whatever became of the path (CVE-2024-1753, CVE-2024-23651). In a user
namespace its root could not reach most sources, nor give them its own mapping.
"""

from __future__ import annotations

import os

from gocker.errors import ConfigError, ContainerError, SyscallError
from gocker.linux import mount as m
from gocker.linux import process
from gocker.linux.path import RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, open_or_make, openat2
from gocker.nested import in_user_namespace
from gocker.runtime import devices, namespaces, userns
from gocker.runtime.options import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker import oci
    from gocker.runtime.options import MountOptions
    from gocker.runtime.userns import User


def open_all(
    config: oci.Config, user: User | None, host_fd: int = -1, *, rootless: bool = False
) -> dict[int, int]:
    """Return a detached mount for each bind mount, by its place in `mounts`.

    With a user namespace, /dev comes from here, too, and by the complement of its place what
    serves if sysfs cannot be mounted. `host_fd`: the host's mount namespace, if
    this process's own is another one, for mounts that are to share what happens there.
    `rootless`: nobody here can make devices; `devices.bind` is to be called later.

    Raises:
        SyscallError: with the mount's destination and source in its context.
        ConfigError: a mapping is asked for and none is given.
    """
    trees = {}
    for number, entry in enumerate(config.get("mounts", ())):
        if is_bind(entry):
            trees[number] = _bind(entry, -1 if user is None else user.fd, host_fd)
        elif user is not None and _is_dev(entry) and not rootless:
            trees[number] = _dev(config, entry, user)
        elif (user is not None or in_user_namespace()) and (
            entry.get("type") == "sysfs" and not _new_network(config)
        ):
            trees[~number] = _sys(entry)
    if user is not None and not rootless:
        _check_devices(config)
    return trees


def add_sysfs(config: oci.Config, trees: dict[int, int]) -> None:
    """Add the mounts of sysfs to `trees`, made as the host's root in the container's network.

    Who made that network decides who may mount a sysfs that shows it, and a container's user
    namespace made none that was ready before.
    """
    for number, entry in enumerate(config.get("mounts", ())):
        if entry.get("type") == "sysfs" and number not in trees:
            options = parse(tuple(entry.get("options") or ()))
            trees[number] = m.new_mount("sysfs", (), options.bind_set)


def is_bind(entry: oci.Mount) -> bool:
    """Return whether an existing tree is mounted: "bind" is a type or an option."""
    options = entry.get("options") or ()
    if entry.get("type") == "bind" or "bind" in options or "rbind" in options:
        return "remount" not in options
    return False


def _bind(entry: oci.Mount, user_fd: int, host_fd: int) -> int:
    """Clone the tree and set its attributes while nobody sees it."""
    options = parse(tuple(entry.get("options") or ()))
    recursive = bool(options.flags & m.MS_REC)
    if options.data or options.tmpcopyup:
        raise ConfigError(
            f"mount {entry['destination']!r}: {options.data or 'tmpcopyup'!r} has no meaning for "
            "a bind mount",
            phase="mounts",
        )
    try:
        tree = _clone(entry, options, host_fd)
        _set(tree, options, recursive=recursive)
    except SyscallError as error:
        error.context |= {"destination": entry["destination"], "source": entry["source"]}
        raise
    # config.md: mappings of the mount's own are applied whether or not an option says so.
    if options.idmap or entry.get("uidMappings") or entry.get("gidMappings"):
        _idmap(tree, entry, options, user_fd)
    return tree


def _clone(entry: oci.Mount, options: MountOptions, host_fd: int) -> int:
    namespace = entry.get("namespace")
    if namespace is not None:
        host_fd = namespaces.open_path(namespace)
    elif host_fd < 0 or all(flags & m.MS_PRIVATE for flags in options.propagation):
        return _open_source(entry, options)
    # Where the mount still has its peers, or is at all.
    own = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    process.setns(host_fd, process.CLONE_NEWNS)
    try:
        return _open_source(entry, options)
    finally:
        process.setns(own, process.CLONE_NEWNS)
        os.fchdir(here)
        os.close(own)
        os.close(here)


def _open_source(entry: oci.Mount, options: MountOptions) -> int:
    flags = m.OPEN_TREE_CLONE | (m.AT_RECURSIVE if options.flags & m.MS_REC else 0)
    if "namespace" in entry:
        return _open_there(entry["source"], flags)
    subpath = entry.get("subpath")
    if subpath is None:
        return m.open_tree(m.AT_FDCWD, entry["source"], flags)
    top = os.open(entry["source"], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    below = open_or_make(top, subpath, directory=True)
    os.close(top)
    try:
        return m.open_tree(below, "", flags | m.AT_EMPTY_PATH)
    finally:
        os.close(below)


def _open_there(path: str, flags: int) -> int:
    """Clone a mount of another container's; no link of its leads elsewhere."""
    top = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    fd = openat2(top, path, os.O_PATH | os.O_DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)
    os.close(top)
    try:
        return m.open_tree(fd, "", flags | m.AT_EMPTY_PATH)
    finally:
        os.close(fd)


def _set(tree: int, options: MountOptions, *, recursive: bool) -> None:
    """Set attributes and propagation: what is for all mounts below first, then the top's own."""
    first, *others = options.propagation or [m.MS_PRIVATE]
    on, off, top_on, top_off = (
        options.attr_set, options.attr_clr, options.bind_set, options.bind_clr,
    )  # fmt: skip
    if not recursive:
        on, off, top_on, top_off = on | top_on, off | top_off, 0, 0
    m.mount_setattr(
        tree, "", attr_set=on, attr_clr=off, propagation=first & ~m.MS_REC, recursive=recursive
    )
    if top_on & ~on or top_off & ~off:
        m.mount_setattr(tree, "", attr_set=top_on, attr_clr=top_off)
    for flags in others:
        m.mount_setattr(tree, "", propagation=flags & ~m.MS_REC, recursive=bool(flags & m.MS_REC))


def _idmap(tree: int, entry: oci.Mount, options: MountOptions, user_fd: int) -> None:
    """Give a detached tree the mount's own mapping, or that of the container."""
    uids, gids = entry.get("uidMappings"), entry.get("gidMappings")
    own_fd = -1
    if uids or gids:
        own_fd = user_fd = userns.make(uids or [], gids or [], for_processes=False)
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


def _new_network(config: oci.Config) -> bool:
    spaces = config.get("linux", {}).get("namespaces") or ()
    return any(entry["type"] == "network" and not entry.get("path") for entry in spaces)


def _sys(entry: oci.Mount) -> int:
    """Return the host's sysfs, in place of one that a user namespace may not mount.

    It may only with a network namespace of its own. As crun does; nothing that is mounted below
    /sys comes along.
    """
    options = parse(tuple(entry.get("options") or ()))
    # Mounts that a user namespace has got from the host can only be cloned together.
    recursive = in_user_namespace()
    flags = m.AT_RECURSIVE if recursive else 0
    tree = m.open_tree(m.AT_FDCWD, "/sys", m.OPEN_TREE_CLONE | flags)
    m.mount_setattr(tree, "", attr_set=options.bind_set, propagation=m.MS_PRIVATE,
                    recursive=recursive)  # fmt: skip
    return tree


def _check_devices(config: oci.Config) -> None:
    """Refuse devices that only the host's root could make, where it does not make any."""
    named = config.get("linux", {}).get("devices") or ()
    outside = [device["path"] for device in named if not device["path"].startswith("/dev/")]
    if outside or not (devices.is_own(config) or devices.is_bound(config)):
        raise ConfigError(
            f"device {(outside or ['/dev/null'])[0]!r}: in a user namespace devices are made "
            "in a tmpfs on /dev",
            hint="mount one there, and name no device outside of it",
            phase="devices",
        )


def _is_dev(entry: oci.Mount) -> bool:
    return entry["destination"].rstrip("/") == "/dev" and entry.get("type") == "tmpfs"


def _dev(config: oci.Config, entry: oci.Mount, user: User) -> int:
    options = parse(tuple(entry.get("options") or ()))
    return devices.new_dev(options, config.get("linux", {}).get("devices", []), *user.ids)
