"""A running container that is to be entered, whoever started it.

It is addressed by a pidfd and the start time of its first process, so a PID that is another
process's by now is never entered (security.md E3). Everything else is read from the kernel while
the pidfd is held: its cgroups, and which of its namespaces are not ours.
"""

from __future__ import annotations

import os
import select

from gocker.cgroup import existing
from gocker.errors import ContainerError, SyscallError
from gocker.linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.cgroup.existing import Membership
    from gocker.cgroup.group import Cgroup
    from gocker.runtime.container import Container

# Below /proc/PID/ns. The order is nobody's: setns(2) joins them all in one call.
_NAMESPACES = (
    ("user", process.CLONE_NEWUSER),
    ("mnt", process.CLONE_NEWNS),
    ("uts", process.CLONE_NEWUTS),
    ("ipc", process.CLONE_NEWIPC),
    ("pid", process.CLONE_NEWPID),
    ("net", process.CLONE_NEWNET),
    ("cgroup", process.CLONE_NEWCGROUP),
    ("time", process.CLONE_NEWTIME),
)


class Target:
    """What an execution has to know of the container.

    `cgroup` gives the descriptors to join it by; `group` is its own cgroups, or None;
    `namespaces` are the CLONE_NEW* flags of those to join; `seccomp` is the compiled filter and
    its flags, or None. `close` lets go of what `find` opened.
    """

    __slots__ = ("_owned", "cgroup", "group", "id", "namespaces", "pid", "pidfd", "seccomp")

    def __init__(
        self, container_id: str, pid: int, pidfd: int, cgroup: Cgroup | Membership,
        group: Cgroup | None, seccomp: tuple[bytes, int] | None,
    ) -> None:  # fmt: skip
        self.id = container_id
        self.pid = pid
        self.pidfd = pidfd
        self.cgroup = cgroup
        self.group = group
        self.seccomp = seccomp
        self.namespaces = different_namespaces(pid)
        self._owned = False

    @classmethod
    def own(cls, container: Container) -> Target:
        """Return a container of this process; it stays the owner of everything."""
        try:
            return cls(container.id, container.pid, container.pidfd, container.cgroup,
                       container.cgroup, container.program)  # fmt: skip
        except (FileNotFoundError, ProcessLookupError) as error:  # a zombie has no namespaces
            raise _gone(container.id, container.pid) from error

    @classmethod
    def find(
        cls, container_id: str, pid: int, start_time: int, cgroups_path: str,
        seccomp: tuple[bytes, int] | None, *, paused: bool = False,
    ) -> Target:  # fmt: skip
        """Return a container that any other process started.

        Args:
            container_id: for messages.
            pid: of its first process, in this process's PID namespace.
            start_time: of it, in clock ticks since boot (`process.start_time`).
            cgroups_path: as in its OCI configuration.
            seccomp: its compiled filter and flags, or None.
            paused: whether it may be paused, as for a copy.

        Raises:
            ContainerError: phase exec: it has ended, or is paused.
        """
        pidfd = _open(container_id, pid, start_time)
        try:
            cgroup = existing.of_process(pid, cgroups_path)
            target = cls(container_id, pid, pidfd, cgroup, cgroup.group, seccomp)
            target.verify()
            if not paused:
                target.refuse_paused()
        except OSError as error:
            os.close(pidfd)
            if _is_missing(error):
                raise _gone(container_id, pid) from error
            raise
        except BaseException:
            os.close(pidfd)
            raise
        target._owned = True
        return target

    def has_ended(self) -> bool:
        """Return whether its first process has."""
        return _has_ended(self.pidfd)

    def verify(self) -> None:
        """Make sure that what was read from /proc by its PID since is its own.

        Raises:
            ContainerError: phase exec: it has ended.
        """
        if _has_ended(self.pidfd):
            raise _gone(self.id, self.pid)

    def refuse_paused(self) -> None:
        """Refuse a frozen container: what enters it would hang until it is thawed.

        Raises:
            ContainerError: phase exec.
        """
        if self.group is not None and self.group.is_frozen():
            raise ContainerError(
                f"container {self.id} is paused",
                hint="gocker unpause lets it go on",
                phase="exec",
            )

    def close(self) -> None:
        """Close what `find` opened."""
        if self._owned:
            self._owned = False
            self.cgroup.close_fds()
            os.close(self.pidfd)


def different_namespaces(pid: int) -> int:
    """Return the CLONE_NEW* flags of the namespaces of a process that are not this process's.

    The kernel refuses to enter one's own user namespace (setns(2), EINVAL).

    Raises:
        FileNotFoundError, ProcessLookupError: if the process is gone.
    """
    flags = 0
    for name, flag in _NAMESPACES:
        try:
            mine = os.stat(f"/proc/self/ns/{name}")
        except FileNotFoundError:
            continue  # a kernel without them
        theirs = os.stat(f"/proc/{pid}/ns/{name}")
        if (mine.st_ino, mine.st_dev) != (theirs.st_ino, theirs.st_dev):
            flags |= flag
    return flags


def _open(container_id: str, pid: int, start_time: int) -> int:
    """Return a pidfd of this very process. The pidfd comes first: a later one started later."""
    if pid <= 0:
        raise _gone(container_id, pid)
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        raise _gone(container_id, pid) from error
    if process.start_time(pid) != start_time or _has_ended(pidfd):
        os.close(pidfd)
        raise _gone(container_id, pid)
    return pidfd


def _has_ended(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], 0)[0])


def _is_missing(error: OSError) -> bool:
    return isinstance(error, FileNotFoundError | ProcessLookupError) and not isinstance(
        error, SyscallError
    )


def _gone(container_id: str, pid: int) -> ContainerError:
    return ContainerError(
        f"container {container_id} is not running",
        hint=f"the record of its process {pid} is stale: see gocker ps --all",
        phase="exec",
    )
