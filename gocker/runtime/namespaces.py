"""OCI `linux.namespaces`: new ones, ones to join by path, and those of gocker's own.

Source: config-linux.md "Namespaces"; namespaces(7), setns(2), time_namespaces(7).
"""

from __future__ import annotations

import os

from gocker.errors import ConfigError, ContainerError, SyscallError
from gocker.linux import mount as m
from gocker.linux import process, procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker import oci

FLAGS = {
    "mount": process.CLONE_NEWNS,
    "uts": process.CLONE_NEWUTS,
    "ipc": process.CLONE_NEWIPC,
    "pid": process.CLONE_NEWPID,
    "network": process.CLONE_NEWNET,
    "cgroup": process.CLONE_NEWCGROUP,
    "user": process.CLONE_NEWUSER,
    "time": process.CLONE_NEWTIME,
}


class Namespaces:
    """What a container has of its own: `new`, CLONE_NEW* flags; `paths` by flag to join.

    Opens nothing. A type in neither is inherited.
    """

    __slots__ = ("new", "paths")

    def __init__(self, linux: oci.Linux) -> None:
        self.new = 0
        self.paths: dict[int, str] = {}
        for entry in linux.get("namespaces", ()):
            flag = FLAGS.get(entry["type"])
            if flag is None:
                raise _error(f"unknown type {entry['type']!r}")
            if self.new & flag or flag in self.paths:
                raise _error(f"type {entry['type']!r} is there twice")
            path = entry.get("path")
            if path:
                self.paths[flag] = path
            else:
                self.new |= flag
        if linux.get("timeOffsets") and not self.new & process.CLONE_NEWTIME:
            raise _error("timeOffsets need a new time namespace")
        if not self.entered & process.CLONE_NEWNS:
            raise _error("without 'mount' the container's mounts would be gocker's own")

    @property
    def entered(self) -> int:
        """The flags of all that are not gocker's own, as far as one can say."""
        return self.new | sum(self.paths)


def _error(text: str) -> ConfigError:
    return ConfigError(f"linux.namespaces: {text}", phase="namespaces")


def open_path(path: str) -> int:
    """Open a namespace's file.

    Raises:
        ContainerError: phase namespaces; it is not there.
    """
    try:
        # Not blocking: it could be a FIFO. setns(2) judges what it is.
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ContainerError(
            f"linux.namespaces: cannot open {path!r}: {error.strerror}", phase="namespaces"
        ) from error


def setns(fd: int, flag: int, path: str) -> None:
    """Join the namespace of an open `path`.

    Raises:
        ContainerError: phase namespaces; it is none, or one of another type.
    """
    try:
        process.setns(fd, flag)
    except SyscallError as error:
        kind = next(name for name, number in FLAGS.items() if number == flag)
        raise ContainerError(
            f"linux.namespaces: cannot join {path!r} as the {kind} namespace: {error.strerror}",
            phase="namespaces",
        ) from error


def join(spaces: Namespaces) -> None:
    """Enter what has a path, as the host's root still; the mount namespace last.

    Not the PID namespace, which the parent entered for us, nor the user namespace.
    """
    for flag, path in spaces.paths.items():
        if flag not in (process.CLONE_NEWPID, process.CLONE_NEWUSER, process.CLONE_NEWNS):
            fd = open_path(path)
            setns(fd, flag, path)
            os.close(fd)
    if process.CLONE_NEWNS in spaces.paths:
        _join_mount(spaces.paths[process.CLONE_NEWNS])


def _join_mount(path: str) -> None:
    """Enter a mount namespace with the scratch directory and procfs, and make them our root.

    Whatever is mounted there is not looked at: its procfs may be a container's. The scratch
    directory covers the namespace's root until it is left for the container's own.
    """
    fd = open_path(path)
    scratch = m.open_tree(m.AT_FDCWD, ".", m.OPEN_TREE_CLONE | m.AT_RECURSIVE)
    proc = m.open_tree(procfs.root(), "", m.OPEN_TREE_CLONE | m.AT_EMPTY_PATH)
    setns(fd, process.CLONE_NEWNS, path)
    for tree in (scratch, proc):
        m.mount_setattr(tree, "", propagation=m.MS_PRIVATE, recursive=True)
    _cover("/", scratch)
    os.fchdir(scratch)
    os.makedirs("proc", exist_ok=True)
    _cover("proc", proc)
    os.chroot(".")
    for each in (fd, scratch, proc):
        os.close(each)


def _cover(path: str, tree: int) -> None:
    target = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    m.move_mount(tree, target)
    os.close(target)


def write_offsets(offsets: oci.TimeOffsets) -> None:
    """Set the clocks of the time namespace made by unshare(2), before anything is in it.

    Raises:
        SyscallError: EPERM without CAP_SYS_TIME, ERANGE for a clock below zero.
    """
    lines = []
    for clock in ("monotonic", "boottime"):
        offset: oci.TimeOffset = offsets.get(clock, {})  # type: ignore[assignment]  # mypy: the keys are literals
        if offset:
            lines.append(f"{clock} {offset.get('secs', 0)} {offset.get('nanosecs', 0)}\n")
    if lines:
        procfs.write("self/timens_offsets", "".join(lines))
