"""The containers of a run, as its log tells: what ``gocker ps`` shows."""

from __future__ import annotations

from gocker.errors import HostError
from gocker.state import journal, runlog
from gocker.state.run import runs
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Literal

    from gocker.state.roots import Roots
    from gocker.state.run import Run

    Status = Literal["running", "paused", "restarting", "exited", "failed", "lost"]


# Of what is not over. "restarting": it has ended, and another attempt will follow.
LIVING = ("running", "paused", "restarting")


@dataclass(slots=True)
class ContainerState:
    """One container. `started` is RFC 3339; `lost`: its run ended without a word on it."""

    id: str
    run_id: str
    project: str
    service: str
    instance: str
    attempt: int
    status: Status
    image: str = ""
    pid: int | None = None
    # In clock ticks since boot; None in records of versions that did not tell.
    start_time: int | None = None
    started: str = ""
    health: str | None = None
    verdict: str | None = None
    exit_code: int | None = None
    exit_signal: str | None = None
    duration_s: float | None = None


def replay(records: Iterable[dict[str, Any]], *, alive: bool) -> list[ContainerState]:
    """Return the containers of a run from its records, in the order of their start.

    Args:
        records: as `runlog.read` yields them.
        alive: whether the run is; if not, what still runs by the log is lost.
    """
    found: dict[str, ContainerState] = {}
    latest: dict[str, str] = {}
    for record in records:
        change = _CHANGES.get(record["event"])
        if change is None:
            continue
        container_id = record.get("container.id") or latest.get(record["instance"], "")
        if container_id not in found:
            if record["event"] == "job.finished":
                continue  # it never had a container
            found[container_id] = _new(container_id, record)
            _followed(found.get(latest.get(record["instance"], "")))
            latest[record["instance"]] = container_id
        change(found[container_id], record)
    if not alive:
        for container in found.values():
            if container.status in ("running", "paused"):
                container.status = "lost"
            _followed(container)
    return list(found.values())


def containers(roots: Roots, project: str | None = None) -> list[ContainerState]:
    """Return the containers of all runs of a project (None: of all projects), oldest first."""
    found = []
    for run in runs(roots, project):
        found += of_run(run)
    return found


def of_run(run: Run) -> list[ContainerState]:
    """Return the containers of one run; none if its log is missing."""
    # Asked before reading: a container that ends meanwhile is then running, not lost.
    alive = run.alive()
    try:
        with run.opened() as fd:
            found = replay(runlog.read("run.jsonl", dir_fd=fd, wanted=_CHANGES), alive=alive)
            journal.apply(found, journal.read(fd))
            return found
    except HostError:
        return []


def _new(container_id: str, record: dict[str, Any]) -> ContainerState:
    return ContainerState(
        id=container_id,
        run_id=record["run.id"],
        project=record["project"],
        service=record["service"],
        instance=record["instance"],
        attempt=record["attempt"],
        status="running",
    )


def _started(container: ContainerState, record: dict[str, Any]) -> None:
    container.image = record["image"]
    container.pid = record["process.pid"]
    container.start_time = record.get("process.start_time")
    container.started = record["time"]


def _health(container: ContainerState, record: dict[str, Any]) -> None:
    container.health = record["status"]


def _exited(container: ContainerState, record: dict[str, Any]) -> None:
    container.status = "exited"
    container.verdict = record["verdict"]
    container.exit_code = record["process.exit.code"]
    container.exit_signal = record["process.exit.signal"]
    container.duration_s = record["duration_s"]

    if record["next"] != "done":
        container.status = "restarting"


def _failed(container: ContainerState, record: dict[str, Any]) -> None:
    container.status = "failed"
    container.verdict = record["verdict"]


def _lost(container: ContainerState, record: dict[str, Any]) -> None:
    container.status = "lost"
    container.exit_code = record["exit_code"]


def _paused(container: ContainerState, _: dict[str, Any]) -> None:
    container.status = "paused"


def _unpaused(container: ContainerState, _: dict[str, Any]) -> None:
    container.status = "running"


def _finished(container: ContainerState, _: dict[str, Any]) -> None:
    _followed(container)


def _followed(container: ContainerState | None) -> None:
    """Another attempt has begun, or none will."""
    if container is not None and container.status == "restarting":
        container.status = "exited"


_CHANGES = {
    "container.started": _started,
    "container.health": _health,
    "container.exited": _exited,
    "container.failed": _failed,
    "container.lost": _lost,
    "container.paused": _paused,
    "container.unpaused": _unpaused,
    "job.finished": _finished,
}
