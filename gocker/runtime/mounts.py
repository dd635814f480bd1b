"""OCI `mounts`: onto targets that are reached inside the rootfs, by descriptors.

A target is opened below the rootfs by openat2 (RESOLVE_IN_ROOT) and mounted on by descriptor:
a link in an image or a shared volume, even one that changes meanwhile, leads no mount elsewhere
(CVE-2019-16884, CVE-2021-30465, CVE-2024-45310).
Source: runtime-spec config.md "Mounts", config-linux.md "Default Filesystems".
"""

from __future__ import annotations

import os
import stat
from errno import ENOENT, EPERM

from gocker.errors import ConfigError, SyscallError
from gocker.linux import mount as m
from gocker.linux import procfs
from gocker.linux.path import (
    RESOLVE_IN_ROOT,
    RESOLVE_NO_SYMLINKS,
    open_in_root,
    open_or_make,
    openat2,
)
from gocker.runtime import tmpcopyup
from gocker.runtime.options import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker import oci
    from gocker.runtime.options import MountOptions

    # Name below /sys/fs/cgroup; the directory, or a detached mount of it.
    CgroupMount = tuple[str, str | int]

_KERNEL_FILESYSTEMS = ("proc", "sysfs", "cgroup", "cgroup2")
# What may be mounted on in procfs: what lxcfs offers, as runc has it. All else would be where
# the container's own confinement is written, or read by those who watch it.
_ON_PROC = frozenset({
    "cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo",
    "net/dev", "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled",
})  # fmt: skip


def mount_all(
    root_fd: int,
    config: oci.Config,
    cgroup_mounts: list[CgroupMount],
    trees: dict[int, int],
    label: str = "",
) -> frozenset[str]:
    """Do the configuration's mounts, in its order; `trees`: of `sources.open_all`.

    `label`: an option for tmpfs mounts, of linux.mountLabel.
    Returns the destinations that are file systems of our own making now, reached without a link.
    """
    fresh: set[str] = set()
    for number, entry in enumerate(config.get("mounts", ())):
        try:
            if number in trees:
                _attach(root_fd, trees[number], entry, fresh)
            else:
                _mount(root_fd, entry, cgroup_mounts, fresh, trees.get(~number, -1), label)
        except SyscallError as error:
            error.context |= {"destination": entry["destination"], "source": entry.get("source")}
            raise
    return frozenset(fresh)


def _mount(
    root_fd: int, entry: oci.Mount, cgroup_mounts: list[CgroupMount], fresh: set[str],
    instead: int, label: str,
) -> None:  # fmt: skip
    options = parse(tuple(entry.get("options") or ()))
    fstype = entry.get("type", "")
    if options.idmap:
        raise _error(entry, f"{options.idmap} is for bind mounts")
    if options.flags & m.MS_REMOUNT:
        _remount(root_fd, entry, options)
        return
    target = _target(root_fd, entry, fstype, fresh)
    try:
        if options.tmpcopyup:
            tmpcopyup.mount(target, entry, options)
        elif fstype in ("cgroup", "cgroup2"):
            _mount_cgroup(f"/proc/self/fd/{target}", root_fd, cgroup_mounts, entry, options)
        else:
            _mount_new(target, entry, options, instead, label)
    finally:
        os.close(target)
    if options.attr_set or options.attr_clr or options.propagation:
        _change(root_fd, entry["destination"], options)


def _error(entry: oci.Mount, text: str, hint: str | None = None) -> ConfigError:
    return ConfigError(f"mount {entry['destination']!r}: {text}", hint=hint, phase="mounts")


def _mount_new(
    target: int, entry: oci.Mount, options: MountOptions, instead: int, label: str
) -> None:
    fstype = entry.get("type", "")
    data = options.data
    if fstype == "tmpfs" and "mode=" not in data:
        # As runc and crun: what is covered by it has the mode that fits its place.
        mode = stat.S_IMODE(os.fstat(target).st_mode)
        data = f"{data},mode={mode:o}" if data else f"mode={mode:o}"
    if label and fstype == "tmpfs":
        data = f"{data},{label}"
    path = f"/proc/self/fd/{target}"
    try:
        m.mount(entry.get("source", fstype), path, fstype, options.flags, data)
    except SyscallError as error:
        if error.errno != EPERM or instead < 0:
            raise
        m.move_mount(instead, target)


def _target(root_fd: int, entry: oci.Mount, fstype: str, fresh: set[str]) -> int:
    """Return an O_PATH descriptor of a directory to mount on."""
    destination = entry["destination"]
    name = destination.rstrip("/")
    if fstype in _KERNEL_FILESYSTEMS or name == "/dev":
        fd = _plain_directory(root_fd, destination)
        fresh.add(name)
        return fd
    fd = open_or_make(root_fd, destination, directory=True)
    _check_place(root_fd, fd, entry, fresh)
    return fd


def _plain_directory(root_fd: int, destination: str) -> int:
    """Return the mount point of a kernel file system; no link may lead to it (CVE-2019-19921)."""
    flags = os.O_PATH | os.O_DIRECTORY
    try:
        return openat2(root_fd, destination, flags, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)
    except SyscallError as error:
        if error.errno != ENOENT:
            raise ConfigError(
                f"{destination!r} in the rootfs is not a plain directory",
                hint="an image must not replace it by a link or a file",
                phase="mounts",
            ) from error
    os.close(open_or_make(root_fd, destination, directory=True))
    return openat2(root_fd, destination, flags, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)


def _attach(root_fd: int, tree: int, entry: oci.Mount, fresh: set[str]) -> None:
    """Move a detached mount in; a mount point that is missing is made."""
    if entry.get("type") in ("sysfs", "tmpfs"):
        target = _target(root_fd, entry, entry["type"], fresh)
    else:
        directory = stat.S_ISDIR(os.fstat(tree).st_mode)
        target = open_or_make(root_fd, entry["destination"], directory=directory, mode=0o755)
        _check_place(root_fd, target, entry, fresh, tree)
    try:
        m.move_mount(tree, target)
    finally:
        os.close(target)


def _check_place(
    root_fd: int, target: int, entry: oci.Mount, fresh: set[str], tree: int = -1
) -> None:
    """Refuse a mount on or in procfs, unless it is procfs or one of the known files."""
    destination = os.path.normpath(entry["destination"])
    if destination.startswith("/dev/") and "/dev" in fresh:
        return  # in a file system that we made a moment ago
    inside = ""
    if destination == "/proc" or destination.startswith("/proc/"):
        inside = destination
    elif procfs.fs_magic(target) == procfs.PROC_SUPER_MAGIC:
        top = os.readlink(f"/proc/self/fd/{root_fd}")
        inside = os.readlink(f"/proc/self/fd/{target}").removeprefix(top)
    if not inside or inside.removeprefix("/proc/") in _ON_PROC:
        return
    if inside == "/proc" and tree >= 0 and procfs.fs_magic(tree) == procfs.PROC_SUPER_MAGIC:
        return
    raise _error(entry, f"refused: {inside!r} is procfs", "mount it elsewhere")


def _remount(root_fd: int, entry: oci.Mount, options: MountOptions) -> None:
    target = open_in_root(root_fd, entry["destination"], os.O_PATH)
    try:
        if options.flags & m.MS_BIND:
            m.mount_setattr(target, "", attr_set=options.bind_set, attr_clr=options.bind_clr)
        else:
            m.mount(None, f"/proc/self/fd/{target}", None, options.flags, options.data)
    finally:
        os.close(target)


def _change(root_fd: int, destination: str, options: MountOptions) -> None:
    """Set recursive attributes and propagation of the mount just made."""
    top = open_in_root(root_fd, destination, os.O_PATH)
    try:
        if options.attr_set or options.attr_clr:
            m.mount_setattr(top, "", attr_set=options.attr_set, attr_clr=options.attr_clr,
                            recursive=True)  # fmt: skip
        for propagation in options.propagation:
            m.mount_setattr(top, "", propagation=propagation & ~m.MS_REC,
                            recursive=bool(propagation & m.MS_REC))  # fmt: skip
    finally:
        os.close(top)


def _mount_cgroup(
    path: str, root_fd: int, cgroup_mounts: list[CgroupMount], entry: oci.Mount,
    options: MountOptions,
) -> None:  # fmt: skip
    """Show the container its own cgroups, and nothing above them.

    `cgroup_mounts`: (name below /sys/fs/cgroup, directory of the container's cgroup). On v1
    each is bound below a tmpfs; on v2 there is one, named "". A bind of the directory that is
    the root of the cgroup namespace shows "/" as its root and cannot be left.
    """
    destination = entry["destination"]
    if cgroup_mounts and cgroup_mounts[0][0] == "":
        _bind_cgroup(cgroup_mounts[0][1], path)
    elif entry.get("type") == "cgroup2":
        raise _error(entry, "this host has cgroup v1", "use the type cgroup")
    else:
        flags = m.MS_NOSUID | m.MS_NODEV | m.MS_NOEXEC
        m.mount("tmpfs", path, "tmpfs", flags, "mode=755,size=64k")
        top = open_in_root(root_fd, destination, os.O_PATH | os.O_DIRECTORY)
        for name, directory in cgroup_mounts:
            os.mkdir(name, 0o755, dir_fd=top)
            _bind_cgroup(directory, f"/proc/self/fd/{top}/{name}")
            if "," in name:
                for controller in name.split(","):
                    os.symlink(name, controller, dir_fd=top)
        os.close(top)
    top = open_in_root(root_fd, destination, os.O_PATH | os.O_DIRECTORY)
    try:
        m.mount_setattr(top, "", attr_set=options.bind_set, attr_clr=options.bind_clr,
                        propagation=m.MS_PRIVATE, recursive=True)  # fmt: skip
    finally:
        os.close(top)


def _bind_cgroup(directory: str | int, path: str) -> None:
    if isinstance(directory, str):
        m.mount(directory, path, None, m.MS_BIND)
        return
    target = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    m.move_mount(directory, target)
    os.close(target)
