"""How a container's first process comes to be, in one step or in two.

A new PID namespace belongs to the user namespace of whoever makes it, and procfs can only be
mounted by root of that one. So a container with both is made in two steps: a process that enters
the user namespace makes the first process as its own sibling (CLONE_PARENT) and is gone.

With a spawner (`gocker.linux.vfork`) all of them share our memory, one after the other; without,
each has its own and the container's outcome comes by its status pipe.
Source: clone(2); pid_namespaces(7), user_namespaces(7).
"""

from __future__ import annotations

import os

from gocker.linux import process
from gocker.linux.calls import Calls
from gocker.linux.seccomp import NEW_LISTENER
from gocker.nested import in_user_namespace
from gocker.runtime import init, namespaces
from gocker.runtime.failure import FAILED_EXIT_CODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.linux.vfork import Spawner
    from gocker.runtime.init import Setup


def _two_steps(setup: Setup) -> bool:
    return setup.user is not None and bool(setup.namespaces & process.CLONE_NEWPID)


def _joins_for_good(setup: Setup) -> bool:
    """Return whether a PID namespace is joined that nobody here can leave again.

    From a user namespace there is no way back to the PID namespace that it came from.
    """
    return process.CLONE_NEWPID in setup.spaces.paths and in_user_namespace()


def can_share_memory(setup: Setup) -> bool:
    """Return whether a spawner will do: init never executes, nor does setns(2) change clocks."""
    asks = setup.seccomp is not None and setup.seccomp[1] & NEW_LISTENER
    times = process.CLONE_NEWTIME in setup.spaces.paths
    return not (setup.init or asks or times or _joins_for_good(setup))


def spawn(
    spawners: tuple[Spawner, Spawner], setup: Setup, cgroup_fd: int | None
) -> tuple[int, int, BaseException | None]:
    """Make the first process; return pid, pidfd and the error that kept it from its program.

    Raises:
        OSError: if there is no process.
    """
    # Only the PID namespace has to be made with the process. The child unshares all others:
    # what they cost is then not spent here.
    flags = setup.namespaces & process.CLONE_NEWPID
    if not _two_steps(setup):
        return spawners[0].spawn(flags, cgroup_fd, lambda: init.prepare(setup))
    born: list[tuple[int, BaseException | None]] = []

    def between() -> Calls:
        init.leave(setup)
        pid, _, error = spawners[1].spawn(
            flags | process.CLONE_PARENT, cgroup_fd, lambda: init.build(setup)
        )
        born.append((pid, error))
        return Calls()  # none: it ends

    pid, pidfd, error = spawners[0].spawn(0, cgroup_fd, between)
    if not born:
        return pid, pidfd, error
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)
    pid, error = born[0]
    return pid, os.pidfd_open(pid), error


def fork(setup: Setup, cgroup_fd: int | None) -> tuple[int, int]:
    """Make the first process, with memory of its own; return pid and pidfd.

    Raises:
        OSError: if there is no process.
    """
    flags = setup.namespaces & process.CLONE_NEWPID | process.CLONE_CLEAR_SIGHAND
    if not _two_steps(setup) and not _joins_for_good(setup):
        pid, pidfd = process.clone3(flags, cgroup_fd)
        if pid == 0:
            init.run(setup, init.prepare)
        return pid, pidfd
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    try:
        pid, pidfd = process.clone3(process.CLONE_CLEAR_SIGHAND, cgroup_fd)
        if pid == 0:
            _between(setup, flags, cgroup_fd, write_fd)
    finally:
        os.close(write_fd)
    with open(read_fd, "rb") as born:
        number = born.read()
    if not number:
        return pid, pidfd  # its own error is in the status pipe
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)
    return int(number), os.pidfd_open(int(number))


def _between(setup: Setup, flags: int, cgroup_fd: int | None, write_fd: int) -> None:
    setup.phase = "start"
    build = init.build
    try:
        if _joins_for_good(setup):
            build = init.prepare if setup.user is None else init.build
            _enter_pid_namespace(setup.spaces.paths[process.CLONE_NEWPID])
        if build is init.build:
            init.leave(setup)
        pid, _ = process.clone3(flags | process.CLONE_PARENT, cgroup_fd)
        if pid == 0:
            os.close(write_fd)
            init.run(setup, build)
        os.write(write_fd, str(pid).encode())
    except BaseException as error:  # whatever it is must reach the launcher
        init.report(setup, error)
    finally:
        os._exit(FAILED_EXIT_CODE)


def _enter_pid_namespace(path: str) -> None:
    fd = namespaces.open_path(path)
    try:
        namespaces.setns(fd, process.CLONE_NEWPID, path)
    finally:
        os.close(fd)


class InPidNamespace:
    """While it lasts, our children are made in a PID namespace that has a path, if one has."""

    def __init__(self, setup: Setup, own_fd: int) -> None:
        path = setup.spaces.paths.get(process.CLONE_NEWPID)
        self._path = None if _joins_for_good(setup) else path
        self._own_fd = own_fd

    def __enter__(self) -> None:
        if self._path is not None:
            _enter_pid_namespace(self._path)

    def __exit__(self, *_: object) -> None:
        if self._path is not None:
            process.setns(self._own_fd, process.CLONE_NEWPID)
