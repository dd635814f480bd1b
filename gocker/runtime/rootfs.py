"""The container's file system tree, built in its own mount namespace before pivot_root.

Every target is reached through descriptors inside the rootfs (openat2, RESOLVE_IN_ROOT) and
mounted on by ``/proc/self/fd/N``, so no link in an image or a shared volume can lead a mount
elsewhere (CVE-2019-16884, CVE-2021-30465, CVE-2024-45310).
Source: runtime-spec config.md "Mounts", config-linux.md "Default Filesystems" and "Devices".
"""

from __future__ import annotations

import os
import stat
from errno import EINVAL, ENOENT, ENOTDIR

from gocker.errors import ConfigError, SyscallError
from gocker.linux import mount as m
from gocker.linux.path import (
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    open_in_root,
    open_or_make,
    openat2,
)
from gocker.runtime.options import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gocker import oci
    from gocker.runtime.options import MountOptions

# Names in the launcher's scratch directory, the working directory while the tree is built.
ROOTFS = "rootfs"
FILES = "files"
EMPTY_FILE = "mask/file"
EMPTY_DIR = "mask/dir"

_KERNEL_FILESYSTEMS = ("proc", "sysfs", "cgroup", "cgroup2")


def mount_root(tree: int, path: str = ROOTFS) -> None:
    """Mount a detached tree, to be the container's root; on the scratch directory's ``rootfs``."""
    target = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    m.move_mount(tree, target)
    os.close(target)


def mount_files(
    root_fd: int, files: list[oci.File], grants: list[oci.File], *, readonly: bool
) -> None:
    """Bind generated files, secrets and configs from a tmpfs of this container's own.

    `files` (/etc/hosts ...) can be written by the container unless its root is `readonly`, as
    in docker; `grants` cannot.
    """
    if not files and not grants:
        return
    flags = m.MS_NOSUID | m.MS_NODEV | m.MS_NOEXEC
    m.mount("tmpfs", FILES, "tmpfs", flags, "mode=700,size=1m")
    top = os.open(FILES, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for number, file in enumerate([*files, *grants]):
            _write_file(top, str(number), file)
            target = open_or_make(root_fd, file["path"], directory=False)
            path = f"/proc/self/fd/{target}"
            m.mount(f"{FILES}/{number}", path, None, m.MS_BIND)
            os.close(target)
            if readonly or number >= len(files):
                target = open_in_root(root_fd, file["path"], os.O_PATH)
                m.mount_setattr(target, "", attr_set=m.MOUNT_ATTR_RDONLY)
                os.close(target)
    finally:
        os.close(top)


def _write_file(top: int, name: str, file: oci.File) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=top)
    try:
        data = file["content"].encode("utf-8", "surrogateescape")
        while data:
            data = data[os.write(fd, data) :]
        if "uid" in file:
            os.fchown(fd, file["uid"], file["gid"])
        os.fchmod(fd, file["mode"])
    finally:
        os.close(fd)


def mount_all(
    root_fd: int, config: oci.Config, cgroup_mounts: list[tuple[str, str]], trees: dict[int, int]
) -> None:
    """Do the configuration's mounts, in its order; `trees`: of `sources.open_all`."""
    for number, entry in enumerate(config.get("mounts", ())):
        try:
            if number in trees:
                _attach(root_fd, trees[number], entry["destination"])
            else:
                _mount_one(root_fd, entry, cgroup_mounts)
        except SyscallError as error:
            error.context |= {"destination": entry["destination"], "source": entry.get("source")}
            raise


def _mount_one(root_fd: int, entry: oci.Mount, cgroup_mounts: list[tuple[str, str]]) -> None:
    options = parse(tuple(entry.get("options", ())))
    fstype = entry.get("type", "")
    destination = entry["destination"]
    if fstype in _KERNEL_FILESYSTEMS:
        target = _plain_directory(root_fd, destination)
    else:
        target = open_or_make(root_fd, destination, directory=True)
    try:
        path = f"/proc/self/fd/{target}"
        if fstype in ("cgroup", "cgroup2"):
            _mount_cgroup(path, destination, root_fd, cgroup_mounts, options)
        else:
            m.mount(entry.get("source", fstype), path, fstype, options.flags, options.data)
        for propagation in options.propagation:
            m.mount(None, path, None, propagation)
    finally:
        os.close(target)


def _plain_directory(root_fd: int, destination: str) -> int:
    """Return the mount point of a kernel file system; no link may lead to it (CVE-2019-19921)."""
    open_flags = os.O_PATH | os.O_DIRECTORY
    try:
        fd = openat2(root_fd, destination, open_flags, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)
    except SyscallError as error:
        if error.errno != ENOENT:
            raise ConfigError(
                f"{destination!r} in the rootfs is not a plain directory",
                hint="an image must not replace it by a link or a file",
                phase="mounts",
            ) from error
        fd = open_or_make(root_fd, destination, directory=True)
    return fd


def _attach(root_fd: int, tree: int, destination: str) -> None:
    """Move a detached mount in; a mount point that is missing is made."""
    directory = stat.S_ISDIR(os.fstat(tree).st_mode)
    target = open_or_make(root_fd, destination, directory=directory, mode=0o755)
    try:
        m.move_mount(tree, target)
    finally:
        os.close(target)


def _mount_cgroup(
    path: str, destination: str, root_fd: int, cgroup_mounts: list[tuple[str, str]],
    options: MountOptions,
) -> None:  # fmt: skip
    """Show the container its own cgroups, and nothing above them.

    `cgroup_mounts`: (name below /sys/fs/cgroup, directory of the container's cgroup). On v1
    each is bound below a tmpfs; on v2 there is one, named "". A bind of the directory that is
    the root of the cgroup namespace shows "/" as its root and cannot be left.
    """
    if cgroup_mounts and cgroup_mounts[0][0] == "":
        m.mount(cgroup_mounts[0][1], path, None, m.MS_BIND)
    else:
        flags = m.MS_NOSUID | m.MS_NODEV | m.MS_NOEXEC
        m.mount("tmpfs", path, "tmpfs", flags, "mode=755,size=64k")
        top = open_in_root(root_fd, destination, os.O_PATH | os.O_DIRECTORY)
        for name, directory in cgroup_mounts:
            os.mkdir(name, 0o755, dir_fd=top)
            m.mount(directory, f"/proc/self/fd/{top}/{name}", None, m.MS_BIND)
        os.close(top)
    top = open_in_root(root_fd, destination, os.O_PATH | os.O_DIRECTORY)
    try:
        m.mount_setattr(top, "", attr_set=options.bind_attributes, recursive=True)
    finally:
        os.close(top)


def write_sysctls(root_fd: int, sysctls: dict[str, str]) -> None:
    """Write sysctls through the container's own procfs, never by a path (CVE-2025-52881)."""
    for name, value in sysctls.items():
        path = "proc/sys/" + (name if "/" in name else name.replace(".", "/"))
        resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
        fd = openat2(root_fd, path, os.O_WRONLY, resolve)
        try:
            os.write(fd, value.encode())
        except OSError as error:
            raise SyscallError("write", error.errno or EINVAL, path, value=value) from error
        finally:
            os.close(fd)


def protect(root_fd: int, scratch: str, masked: list[str], readonly: list[str]) -> None:
    """Hide the masked paths and make the read-only paths read-only; missing ones are skipped.

    Paths in the fresh procfs and sysfs are mounted on relative to those mounts: they were made
    a moment ago by us and nobody can put a link there. All others go through openat2.
    """
    file, directory = f"{scratch}/{EMPTY_FILE}", f"{scratch}/{EMPTY_DIR}"
    for top in ("/proc/", "/sys/"):
        mine = [path[len(top) :] for path in masked if path.startswith(top)]
        also = [path[len(top) :] for path in readonly if path.startswith(top)]
        if mine or also:
            os.fchdir(root_fd)
            os.chdir(top[1:])
            for path in mine:
                _mask(file, directory, path)
            for path in also:
                _make_readonly(path)
    for path in masked:
        if not path.startswith(("/proc/", "/sys/")):
            _at(root_fd, path, lambda target: _mask(file, directory, target))
    for path in readonly:
        if not path.startswith(("/proc/", "/sys/")):
            _at(root_fd, path, _make_readonly)
    os.chdir(scratch)


def _at(root_fd: int, path: str, action: Callable[[str], None]) -> None:
    """Call `action` with a name for what `path` is in the root, if it is there."""
    try:
        fd = open_in_root(root_fd, path, os.O_PATH)
    except SyscallError as error:
        if error.errno in (ENOENT, ENOTDIR):
            return
        raise
    try:
        action(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


# Masked paths seen to be directories. A wrong first try costs the kernel an RCU grace period,
# milliseconds on a busy host; the set lasts where children share the launcher's memory.
_directories: set[str] = set()


def _mask(file: str, directory: str, target: str) -> None:
    """Cover a file with an empty one, a directory with an empty one, both read-only."""
    first, second = (directory, file) if target in _directories else (file, directory)
    if m.bind(first, target) == ENOTDIR:
        m.mount(second, target, None, m.MS_BIND)
        _directories.symmetric_difference_update((target,))


def _make_readonly(target: str) -> None:
    if m.bind(target, target) == ENOENT:
        return
    # The relative path still names what lies below the new mount; the kernel's lookup of
    # its last component follows it to the top.
    m.mount_setattr(m.AT_FDCWD, target, attr_set=m.MOUNT_ATTR_RDONLY, recursive=True)


def pivot(root_fd: int) -> None:
    """Make the rootfs the root of the mount namespace and detach the old one.

    There is no fallback to chroot: a failure here ends the container.
    """
    os.fchdir(root_fd)
    m.pivot_root(".", ".")
    m.umount(".", m.MNT_DETACH)
    os.chdir("/")
