"""The running containers of a project, with everything that is needed to enter them.

No supervisor is asked: a run's log tells the process and its start time, plan.json how the
container was made, and the kernel whether the process still is that one.
"""

from __future__ import annotations

import os

from gocker.errors import HostError
from gocker.state import planfile
from gocker.state.containers import of_run
from gocker.state.holder import boot_id, start_time
from gocker.state.run import runs
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.plan.model import Container
    from gocker.state.containers import ContainerState
    from gocker.state.roots import Roots
    from gocker.state.run import Run
    from gocker.wire import Message

_TAIL = 8192  # bytes: the last records of a log
# A container of a dead supervisor may run on for a moment.
_ALIVE = ("running", "paused", "lost")


@dataclass(slots=True)
class Living:
    """A running container.

    `pid` and `start_time` (clock ticks since boot) name its first process for this boot; whoever
    acts on it checks them again, with a pidfd in hand. `programs`: where compiled seccomp programs
    are kept.
    """

    id: str
    run: Run
    service: str
    instance: str
    image: str
    pid: int
    start_time: int
    programs: str

    @property
    def cgroups_path(self) -> str:
        """The name of its cgroups, OCI's linux.cgroupsPath."""
        return self.id

    def made(self) -> tuple[Container, list[str]]:
        """Return how it was made, and the names of variables that are withheld from there.

        Raises:
            HostError: if that was not written, or is damaged.
        """
        plan = planfile.read(self.run)
        return plan.container(self.instance), plan.withheld(self.instance)

    def join_message(self, container: Container) -> Message:
        """Return the request that lets a launcher execute in it (`gocker.wire`, ``join``)."""
        linux: dict[str, Any] = dict(container.config.get("linux", {}))
        return {
            "op": "join", "id": self.id, "pid": self.pid, "start_time": self.start_time,
            "cgroups_path": self.cgroups_path, "seccomp": linux.get("seccomp"),
            "programs": self.programs,
        }  # fmt: skip


def running(roots: Roots, project: str | None = None) -> list[Living]:
    """Return the containers of a project (None: of all) whose first process runs, oldest first.

    Also those whose supervisor is gone.
    """
    found: list[Living] = []
    for run in runs(roots, project):
        found += of(run)
    return found


def of(run: Run) -> list[Living]:
    """Return the running containers of one run."""
    if run.holder is None or run.holder.boot_id != boot_id() or _has_finished(run):
        return []
    made = [_living(run, state) for state in of_run(run) if state.status in _ALIVE]
    return [item for item in made if item is not None]


def _has_finished(run: Run) -> bool:
    """Return whether a run's log ends with its end: then nothing of it runs any more.

    Without reading the log, which may be of thousands of containers. What others wrote into it
    has its quotes escaped.
    """
    try:
        with run.opened() as dir_fd:
            fd = os.open("run.jsonl", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    except (OSError, HostError):
        return False
    try:
        size = os.fstat(fd).st_size
        return b'"event":"run.finished"' in os.pread(fd, _TAIL, max(0, size - _TAIL))
    finally:
        os.close(fd)


def choose(found: list[Living], service: str, index: int | None) -> Living:
    """Return the container of a service, or of an instance by its own name.

    Args:
        found: of one project.
        service: its name, or an instance's.
        index: number of the replica, as in the instance's name; None is the first that runs.

    Raises:
        HostError: if it does not run.
    """
    named = [item for item in found if service in (item.service, item.instance)]
    named.sort(key=lambda item: (len(item.instance), item.instance))
    if index is None and named:
        return named[0]
    own = (f"{service}-{index}", service if index == 1 else None)
    for item in named:
        if item.instance in own:
            return item
    if named:
        names = ", ".join(item.instance for item in named)
        raise HostError(f"service {service!r} has no container {index}", hint=f"running: {names}")
    others = ", ".join(dict.fromkeys(item.service for item in found)) or "nothing"
    raise HostError(f"service {service!r} is not running", hint=f"running: {others}")


def _living(run: Run, state: ContainerState) -> Living | None:
    if state.pid is None or state.start_time is None or start_time(state.pid) != state.start_time:
        return None
    return Living(state.id, run, state.service, state.instance, state.image, state.pid,
                  state.start_time, run.programs())  # fmt: skip
