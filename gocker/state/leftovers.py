"""Directories of containers whose run has ended without removing them.

The launcher makes ``<data>/containers/<container id>/`` for an overlay's upper and work
directories and removes it; a killed one cannot.
"""

from __future__ import annotations

import os

from gocker.errors import HostError
from gocker.state.directory import list_names
from gocker.state.names import is_run_id, run_of
from gocker.state.roots import Roots
from gocker.state.run import Run
from gocker.state.tree import remove_tree


def container_path(roots: Roots, container_id: str) -> str:
    """Return the directory for a container's own files."""
    return os.path.join(roots.data, "containers", container_id)


def stale_containers(roots: Roots) -> list[str]:
    """Return the identifiers of containers that have a directory and no living run."""
    fd = roots.open_data("containers")
    try:
        names = list_names(fd)
    finally:
        os.close(fd)
    alive: dict[str, bool] = {}
    for run_id in {run_of(name) for name in names}:
        alive[run_id] = is_run_id(run_id) and Run(roots, run_id, None).alive()
    return [name for name in names if not alive[run_of(name)]]


def remove_container(roots: Roots, container_id: str) -> None:
    """Remove a stale container's directory; a missing one is fine.

    Raises:
        HostError: if its run is alive, or its overlay is still mounted.
    """
    fd = roots.open_data("containers")
    try:
        if container_id not in stale_containers(roots):
            if not os.access(container_id, os.F_OK, dir_fd=fd, follow_symlinks=False):
                return
            raise HostError(f"the run of container {container_id!r} is alive")
        remove_tree(fd, container_id)
    finally:
        os.close(fd)
