"""Directories of containers whose run has ended without removing them.

The launcher makes ``<data>/containers/<container id>/`` for an overlay's upper and work
directories and removes it; a killed one cannot.
"""

from __future__ import annotations

import os

from gocker.errors import HostError
from gocker.state.directory import list_names
from gocker.state.names import is_run_id, run_of
from gocker.state.run import Run
from gocker.tree import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.state.roots import Roots


def container_path(roots: Roots, container_id: str) -> str:
    """Return the directory for a container's own files."""
    return os.path.join(roots.data, "containers", container_id)


def stale_containers(roots: Roots) -> list[str]:
    """Return the identifiers of containers that have a directory and no living run.

    A name that is not a container's of ours is nobody's leftover: the data root may be a
    directory that the user shares with something else.
    """
    fd = roots.open_data("containers")
    try:
        names = [name for name in list_names(fd) if is_run_id(run_of(name))]
    finally:
        os.close(fd)
    alive = {run_id: Run(roots, run_id).alive() for run_id in set(map(run_of, names))}
    return [name for name in names if not alive[run_of(name)]]


def remove_of_run(roots: Roots, run_id: str) -> None:
    """Remove the directories of a run of ours whose launchers have ended, as far as can be.

    After a failure in the middle nobody else knows all of them; the next command would look.
    """
    fd = roots.open_data("containers")
    try:
        for name in list_names(fd):
            if run_of(name) == run_id:
                try:
                    remove_tree(fd, name)
                except HostError:
                    pass  # in use, or the disk is at fault: the next command says so
    finally:
        os.close(fd)


def remove_container(roots: Roots, container_id: str) -> None:
    """Remove a stale container's directory; a missing one is fine.

    Raises:
        HostError: if its run is alive, its overlay is still mounted, or it is not ours.
    """
    fd = roots.open_data("containers")
    try:
        if container_id in stale_containers(roots):
            remove_tree(fd, container_id)
        elif os.access(container_id, os.F_OK, dir_fd=fd, follow_symlinks=False):
            raise HostError(f"{container_id!r} is not a container whose run has ended")
    finally:
        os.close(fd)
