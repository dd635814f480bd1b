"""The cgroups of a running process that somebody else put there.

Read from the kernel (/proc/PID/cgroup), so that nothing has to be remembered: whoever joins a
running container is counted and limited with it, in every hierarchy.
Source: cgroups(7) "/proc files"; cgroup-v2.rst, "No Internal Process Constraint".
"""

from __future__ import annotations

import os

from gocker.cgroup import mounts
from gocker.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.cgroup.base import Manager
    from gocker.cgroup.group import Cgroup


class Membership:
    """Where a running container's first process is; joined as a `group.Cgroup` is.

    `group`: the cgroups that carry the container's name, for statistics, `freeze` and `kill`;
    None if it has none. Owns the descriptors it gives out, until `close_fds`.
    """

    __slots__ = ("_dir_fd", "_directory", "_fds", "_files", "group")

    def __init__(self, group: Cgroup | None, files: list[str], directory: str | None) -> None:
        self.group = group
        self._files = files
        self._directory = directory
        self._fds: list[int] = []
        self._dir_fd: int | None = None

    def fds(self) -> list[int]:
        """Return descriptors for `Cgroup.join`, close-on-exec, opened at the first call."""
        if not self._fds:
            self._fds = [os.open(path, os.O_WRONLY | os.O_CLOEXEC) for path in self._files]
        return self._fds

    def dir_fd(self) -> int | None:
        """Return a descriptor for CLONE_INTO_CGROUP; None where the main hierarchies are v1."""
        if self._dir_fd is None and self._directory is not None:
            self._dir_fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return self._dir_fd

    def close_fds(self) -> None:
        """Close the descriptors."""
        while self._fds:
            os.close(self._fds.pop())
        if self._dir_fd is not None:
            os.close(self._dir_fd)
            self._dir_fd = None


def of_process(pid: int, name: str) -> Membership:
    """Return the cgroups of process `pid`, a member of the container `name`.

    Args:
        pid: its number cannot become another's: the caller holds a pidfd, and looks afterwards
            whether the process still runs.
        name: OCI's cgroupsPath, the container's path below its runtime's own cgroup.

    Raises:
        ContainerError: phase cgroup, if cgroups of the container's own are not in sight here.
        OSError: if the process is gone.
    """
    with open("/proc/self/mountinfo") as mountinfo, open(f"/proc/{pid}/cgroup") as cgroup:
        text = cgroup.read()
        layout = mounts.parse(mountinfo.read(), text)
    with open("/proc/self/cgroup") as cgroup:
        mine = cgroup.read().splitlines()
    name = name.strip("/")
    files, parents, directory = [], {}, None
    for line in text.splitlines():
        _, names, path = line.split(":", 2)
        place = _place(layout, names, path, name)
        if place is None:
            continue
        parent, entered = place
        if parent is not None:
            parents[names] = parent
        if layout.mode == "v2" and not names:
            directory = entered
        elif parent is not None or line not in mine:
            files.append(f"{entered}/{'tasks' if names else 'cgroup.procs'}")
    return Membership(_group(layout, parents, name), files, directory)


def _place(
    layout: mounts.Layout, names: str, path: str, name: str
) -> tuple[str | None, str] | None:
    """Return (directory of the container's parent or None, directory to enter), if in sight."""
    hierarchy = layout.v1.get(names.partition(",")[0]) if names else layout.v2
    _, found, inside = f"{path}/".partition(f"/{name}/")
    directory = None if hierarchy is None else hierarchy.directory
    if directory is None:
        if found:
            raise ContainerError(
                f"{name}: its cgroup {path!r} ({names or 'v2'}) cannot be seen from here",
                hint="run this command where the container's gocker was started",
                phase="cgroup",
            )
        return None
    if not found:
        return None, directory
    own = directory[: len(directory) - len(inside)].rstrip("/")
    # On v2 a cgroup with controlled children takes no process: there, the very place of the
    # one that runs. On v1 the container's own, whatever it made for itself below.
    return own[: -len(name) - 1], own if names else directory


def _group(layout: mounts.Layout, parents: dict[str, str], name: str) -> Cgroup | None:
    if layout.mode == "v2" and layout.v2 is not None:
        if "" not in parents:
            return None
        from gocker.cgroup import v2

        manager: Manager = v2.Manager(layout.v2.mount, parents[""])
    else:
        from gocker.cgroup import v1

        directories = {
            controller: parent
            for names, parent in parents.items() if names
            for controller in names.split(",")
        }  # fmt: skip
        if not directories:
            return None
        manager = v1.Manager(directories, layout.mode or "v1")
    return manager.group(name, dict.fromkeys(manager.directories.values()))
