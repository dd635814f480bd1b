"""What a container has written to its root: found for `commit`, `export` and `diff`.

Of a running container the layer is named in the run's log; of one that has ended it is there
if the run kept it (``--keep``).
"""

from __future__ import annotations

import os
import stat

from gocker.errors import HostError
from gocker.image.layertree import Entry, look, walk
from gocker.state import planfile
from gocker.state.run import runs
from gocker.state.runlog import read as read_log
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from gocker.plan.model import Container
    from gocker.state.roots import Roots
    from gocker.state.run import Run


@dataclass(frozen=True, slots=True)
class Written:
    """A container's files.

    `upper`: what it wrote; `lower`: its image's layers, topmost first;
    `uids`, `gids`: ids on the disk, ids in the container, and how many; `ours`: paths that gocker
    makes in every container; `done` is to be called when they are not needed any more.
    """

    upper: str
    lower: tuple[str, ...]
    uids: tuple[tuple[int, int, int], ...] = ()
    gids: tuple[tuple[int, int, int], ...] = ()
    ours: frozenset[str] = frozenset()
    done: Callable[[], object] = bool

    def entries(self) -> Iterator[Entry]:
        """Yield what it wrote, whiteouts among it, less what is there in every container."""
        for entry in walk((self.upper,), raw=True):
            if not (entry.path in self.ours and _is_empty(entry)):
                yield entry

    def all(self) -> Iterator[Entry]:
        """Yield all files as the container has them."""
        return walk((self.upper, *self.lower))

    def changes(self) -> Iterator[tuple[str, str]]:
        """Yield ``A``, ``C`` or ``D``, and the path, for all that differs from the image."""
        for entry in self.entries():
            path = f"/{entry.path}"
            if entry.is_whiteout:
                yield "D", path
            else:
                yield "A" if look(self.lower, entry.path) is None else "C", path


def _is_empty(entry: Entry) -> bool:
    if stat.S_ISREG(entry.status.st_mode):
        return entry.status.st_size == 0
    if not stat.S_ISDIR(entry.status.st_mode):
        return False
    fd = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=entry.parent)
    try:
        return not os.listdir(fd)
    finally:
        os.close(fd)


def find(roots: Roots, project: str, service: str) -> Written:
    """Return what the newest container of a service, or of an instance, has written.

    Raises:
        HostError: if there is none, or its layer is gone.
    """
    seen = False
    for run in reversed(runs(roots, project)):
        records = _records(run, service)
        seen = seen or any(record["event"] == "container.started" for record in records)
        found = _newest(roots, run, records)
        if found is not None:
            return found
    if seen:
        raise HostError(
            f"the files of service {service!r} are gone with its container",
            hint="gocker up --keep always keeps them",
        )
    raise HostError(f"service {service!r} has no container in project {project!r}")


def of_run(roots: Roots, run: Run, instance: str, made: Container) -> Written:
    """Return what a unit's newest container in one run has written.

    Raises:
        HostError: if it is gone.
    """
    for record in reversed(_records(run, instance)):
        upper = _upper(roots, record)
        if upper is not None:
            return _written(upper, made)
    raise HostError(f"the files of {instance!r} are gone with its container")


def _records(run: Run, service: str) -> list[dict[str, Any]]:
    with run.opened() as fd:
        return [
            record for record in read_log("run.jsonl", dir_fd=fd)
            if service in (record.get("service"), record.get("instance"))
        ]  # fmt: skip


def _newest(roots: Roots, run: Run, records: list[dict[str, Any]]) -> Written | None:
    for record in reversed(records):
        upper = _upper(roots, record)
        if upper is not None:
            return _written(upper, planfile.read(run).container(record["instance"]))
    return None


def _upper(roots: Roots, record: dict[str, Any]) -> str | None:
    path: str | None = None
    if record["event"] == "layer.kept":
        path = record["path"]
    elif record["event"] == "container.started" and record.get("layer"):
        path = os.path.join(roots.data, "containers", os.path.basename(record["layer"]), "upper")
    return path if path is not None and os.path.isdir(path) else None


def _written(upper: str, made: Container) -> Written:
    if made.hidden:
        raise HostError(
            "the container's root is this host's own, which becomes no image",
            hint="use an image, or bins:",
        )
    linux: Any = made.config["linux"]
    ours = {item["path"].strip("/") for item in (*made.files, *made.grants)}
    ours |= {mount["destination"].strip("/") for mount in made.config["mounts"]}
    ours |= {os.path.dirname(path) for path in ours if "/" in path} & {"run/secrets", "run"}
    return Written(
        upper, made.lower,
        _mapping(linux.get("uidMappings", ())), _mapping(linux.get("gidMappings", ())),
        frozenset(ours),
    )  # fmt: skip


def _mapping(given: Any) -> tuple[tuple[int, int, int], ...]:
    return tuple((item["hostID"], item["containerID"], item["size"]) for item in given)
