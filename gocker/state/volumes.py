"""Named volumes: ``<data>/volumes/<project>_<name>/``, durable until ``down --volumes``.

``a`` + ``b_c`` and ``a_b`` + ``c`` would share a directory, so each has a record of its owner
beside it in ``.owner/``: one project cannot remove or use another's data by its name.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

from gocker.errors import HostError
from gocker.state.directory import list_names, open_private, read_small, write_atomic
from gocker.state.names import checked
from gocker.state.record import seal, unseal
from gocker.tree import remove_tree
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gocker.state.roots import Roots


_OWNERS = ".owner"


@dataclass(frozen=True, slots=True)
class Volume:
    """A named volume. `path` is its directory."""

    project: str
    name: str
    path: str


def create(roots: Roots, project: str, name: str) -> tuple[Volume, bool]:
    """Return a project's volume, made if it is missing, and whether it was made.

    The directory has mode 0755, as Docker's have, so that a container's ordinary users get
    into it; the data root above it keeps the host's users out.

    Raises:
        HostError: if another project has a volume of that directory.
    """
    volume = _volume(roots, project, name)
    directory = os.path.basename(volume.path)
    with _opened(roots) as (volumes_fd, owners_fd):
        owner = _owner(owners_fd, directory)
        exists = os.access(directory, os.F_OK, dir_fd=volumes_fd, follow_symlinks=False)
        if owner is None and exists:
            raise HostError(
                f"volume {directory!r} has no record of its owner",
                hint=f"if its data is not needed: rm -r {volume.path}",
            )
        if owner is not None and owner != (project, name):
            raise HostError(
                f"volume {directory!r} belongs to project {owner[0]!r}",
                hint="choose another name for the project or the volume",
            )
        if exists:
            return volume, False
        # First the owner, then the directory: a volume without an owner is never made.
        facts = {"project": project, "name": name}
        write_atomic(owners_fd, directory, seal(facts))
        os.mkdir(directory, dir_fd=volumes_fd)
        os.chmod(directory, 0o755, dir_fd=volumes_fd)  # noqa: S103  # below a root of mode 0700
    return volume, True


def volumes(roots: Roots, project: str | None = None) -> list[Volume]:
    """Return the volumes of a project, or all, by name."""
    found = []
    with _opened(roots) as (volumes_fd, owners_fd):
        for directory in list_names(volumes_fd):
            owner = _owner(owners_fd, directory)
            if owner is not None and project in (None, owner[0]):
                found.append(Volume(*owner, os.path.join(roots.data, "volumes", directory)))
    return found


def remove(roots: Roots, project: str, name: str) -> bool:
    """Remove a project's volume and its data; False if there is none.

    Raises:
        HostError: if something is mounted on it or in it, so that it is in use.
    """
    directory = os.path.basename(_volume(roots, project, name).path)
    with _opened(roots) as (volumes_fd, owners_fd):
        if _owner(owners_fd, directory) != (project, name):
            return False
        remove_tree(volumes_fd, directory)
        os.unlink(directory, dir_fd=owners_fd)
    return True


def _volume(roots: Roots, project: str, name: str) -> Volume:
    directory = f"{checked(project, 'project')}_{checked(name, 'volume')}"
    return Volume(project, name, os.path.join(roots.data, "volumes", directory))


@contextmanager
def _opened(roots: Roots) -> Iterator[tuple[int, int]]:
    """Give descriptors of the directories of the volumes and of their owners."""
    volumes_fd = roots.open_data("volumes")
    try:
        owners_fd = open_private(_OWNERS, dir_fd=volumes_fd)
        try:
            yield volumes_fd, owners_fd
        finally:
            os.close(owners_fd)
    finally:
        os.close(volumes_fd)


def _owner(owners_fd: int, directory: str) -> tuple[str, str] | None:
    facts, reason = unseal(read_small(owners_fd, directory))
    if reason is not None:
        return None  # nobody's for us: neither used nor removed
    match facts:
        case {"project": str(project), "name": str(name)}:
            return project, name
    return None
