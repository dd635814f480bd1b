"""The container's file system tree, built in its own mount namespace before pivot_root.

Root, generated files, masks and sysctls; the configuration's mounts are in `mounts`.
Source: runtime-spec config-linux.md "Masked Paths", "Readonly Paths", "Sysctl".
"""

from __future__ import annotations

import os
from errno import EINVAL, ENOENT, ENOTDIR

from gocker.errors import ConfigError, SyscallError
from gocker.linux import mount as m
from gocker.linux import procfs
from gocker.linux.path import open_in_root, open_or_make
from gocker.runtime import sysctls as sysctls_
from gocker.runtime.options import PROPAGATION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker import oci

# Names in the launcher's scratch directory, the working directory while the tree is built.
ROOTFS = "rootfs"
FILES = "files"
EMPTY_FILE = "mask/file"
EMPTY_DIR = "mask/dir"


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


def write_sysctls(sysctls: dict[str, str]) -> None:
    """Write sysctls of this process's namespaces.

    Through the launcher's procfs, which shows the namespaces of whoever looks, and never by a
    path of the container's (CVE-2025-52881).
    """
    for name, value in sysctls.items():
        procfs.write(f"sys/{sysctls_.path(name)}", value)


def protect(
    root_fd: int, scratch: str, masked: list[str], readonly: list[str], fresh: frozenset[str]
) -> None:
    """Hide the masked paths and make the read-only paths read-only; missing ones are skipped.

    `fresh`: mount points of file systems of our own making (`mounts.mount_all`). Paths in such
    a procfs and sysfs are mounted on relative to them: they were made a moment ago and nobody
    can have put a link there. All others go through openat2.
    """
    file, directory = f"{scratch}/{EMPTY_FILE}", f"{scratch}/{EMPTY_DIR}"
    tops = tuple(f"{top}/" for top in ("/proc", "/sys") if top in fresh)
    for top in tops:
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
        if not path.startswith(tops):
            fd = _find(root_fd, path)
            if fd >= 0:
                _mask(file, directory, f"/proc/self/fd/{fd}")
                os.close(fd)
    for path in readonly:
        if not path.startswith(tops):
            fd = _find(root_fd, path)
            if fd >= 0:
                _cover_readonly(fd)
                os.close(fd)
    os.chdir(scratch)


def _find(root_fd: int, path: str) -> int:
    """Return an O_PATH descriptor of what `path` is in the root, or -1 if it is not there."""
    try:
        return open_in_root(root_fd, path, os.O_PATH)
    except SyscallError as error:
        if error.errno in (ENOENT, ENOTDIR):
            return -1
        raise


def _cover_readonly(fd: int) -> None:
    """Put a read-only clone of a tree on itself."""
    tree = m.open_tree(fd, "", m.OPEN_TREE_CLONE | m.AT_EMPTY_PATH | m.AT_RECURSIVE)
    m.mount_setattr(tree, "", attr_set=m.MOUNT_ATTR_RDONLY, propagation=m.MS_PRIVATE,
                    recursive=True)  # fmt: skip
    m.move_mount(tree, fd)
    os.close(tree)


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


def make_cwd(root_fd: int, process: oci.Process) -> None:
    """Make a working directory that is missing, before the root is read-only."""
    user = process.get("user", {})
    if _find(root_fd, process["cwd"]) >= 0:
        return  # the descriptor goes with all others, before the program
    fd = open_or_make(root_fd, process["cwd"], directory=True)
    os.chown(f"/proc/self/fd/{fd}", user.get("uid", 0), user.get("gid", 0))
    os.close(fd)


def pivot(root_fd: int, propagation: int = m.MS_PRIVATE) -> None:
    """Make the rootfs the root of the mount namespace and detach the old one.

    There is no fallback to chroot: a failure here ends the container.
    """
    os.fchdir(root_fd)
    m.pivot_root(".", ".")
    m.umount(".", m.MNT_DETACH)
    os.chdir("/")
    if propagation != m.MS_PRIVATE:
        m.mount(None, "/", None, propagation)


def propagation(linux: oci.Linux) -> int:
    """Return the flags of linux.rootfsPropagation.

    Raises:
        ConfigError: for another word.
    """
    word = linux.get("rootfsPropagation") or "private"
    flags = PROPAGATION.get(word)
    if flags is None:
        raise ConfigError(
            f"linux.rootfsPropagation: unknown value {word!r}",
            hint=f"one of {', '.join(PROPAGATION)}", phase="mounts",
        )  # fmt: skip
    return flags


def set_propagation(linux: oci.Linux, path: str) -> None:
    """Cut a new mount namespace off the host's, before the first mount on `path`.

    What the host mounts later may come in (slave), unless rootfsPropagation says otherwise; the
    mount that `path` is in is private in any case: pivot_root(2) wants it so.
    """
    word = linux.get("rootfsPropagation")
    flags = propagation(linux) if word else m.MS_SLAVE | m.MS_REC
    m.mount(None, "/", None, flags)
    at = os.path.realpath(path)
    while True:
        try:
            m.mount(None, at, None, m.MS_PRIVATE)
        except SyscallError as error:
            if error.errno != EINVAL or at == "/":  # EINVAL: not a mount point
                raise
            at = os.path.dirname(at)
        else:
            return
