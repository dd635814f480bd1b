"""The first process of ``run`` where nothing has to happen between its set-up and its program.

There is no ``start`` to wait for then, and no hook to call: the process is made as the launcher
makes its own, in our memory (`gocker.linux.vfork`), and executes its program when it is set up.
It records itself before it does: a container whose runtime is killed is on record or gone.
"""

from __future__ import annotations

import os
import sys

from gocker.errors import from_wire
from gocker.linux import process, procfs, vfork
from gocker.runtime import clone, init
from gocker.runtime.failure import explain
from gocker.runtime.imports import forget_imports
from gocker.runtime.oci import bundle, child, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.linux.calls import Calls
    from gocker.runtime.init import Setup
    from gocker.runtime.oci.container import Container

_BEFORE_PROGRAM = ("prestart", "createRuntime", "createContainer", "startContainer")


def fits(config: dict[str, Any], setup: Setup) -> bool:
    """Return whether a container can be run so. `setup`: without descriptors yet."""
    hooked = any(config["hooks"].get(name) for name in _BEFORE_PROGRAM)
    # As root of a user namespace it could not write into the state directory.
    return (
        not hooked and setup.user is None and config["process"] != bundle.NO_PROCESS
        and clone.can_share_memory(setup) and vfork.supported()
    )  # fmt: skip


class Direct:
    """One such process, from its clone3 to its execve."""

    def __init__(self, container: Container, setup: Setup) -> None:
        self._container = container
        self._setup = setup
        before = {"_session": self._begin, "_root": child.scratch}
        inside: list[Any] = []
        for step in setup.inside:
            inside += [before[step.__name__], step] if step.__name__ in before else [step]
        setup.inside = tuple(inside)

    def spawn(self, cgroup_fd: int | None) -> tuple[int, int]:
        """Make the process; return pid and pidfd.

        Raises:
            GockerError: its program could not be executed; there is no process then.
        """
        procfs.root()  # its descriptor is to be ours, not the child's
        spawner = vfork.Spawner()
        flags = self._setup.namespaces & process.CLONE_NEWPID | process.CLONE_CLEAR_SIGHAND
        imports = sys.meta_path[:], sys.path[:]
        try:
            pid, pidfd, error = spawner.spawn(flags, cgroup_fd, self._prepare)
        finally:
            sys.meta_path[:], sys.path[:] = imports
        if error is None:
            return pid, pidfd
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)
        raise from_wire(explain(error, self._setup.phase))

    def _prepare(self) -> Calls:
        calls = init.prepare(self._setup)
        self._container.directory.write(state.STATE, self._container.record)
        process.prctl(process.PR_SET_PDEATHSIG, 0)  # from here on it lives without us
        return calls

    def _begin(self, _: Setup) -> None:
        """Learn who we are while the runtime's procfs is in sight."""
        forget_imports()  # the file system is about to be the image's
        record = self._container.record
        record["pid"] = int(os.readlink("/proc/self"))
        record["start_time"] = state.start_time(record["pid"])
