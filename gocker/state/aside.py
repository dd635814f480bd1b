"""Damaged state, kept for whoever wants to look: ``<data>/aside/``, the last 20."""

from __future__ import annotations

import os

from gocker.errors import HostError
from gocker.state.directory import list_names
from gocker.tree import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.state.roots import Roots

NAME = "aside"
KEEP = 20


def put(roots: Roots, name: str, dir_fd: int) -> str:
    """Move `name` out of a directory of ours; return its path now.

    Raises:
        HostError: if it cannot be moved.
    """
    fd = roots.open_data(NAME)
    try:
        target, number = name, 1
        while os.access(target, os.F_OK, dir_fd=fd, follow_symlinks=False):
            number += 1
            target = f"{name}.{number}"
        try:
            os.rename(name, target, src_dir_fd=dir_fd, dst_dir_fd=fd)
        except OSError as err:
            raise HostError(f"cannot keep {name!r} aside: {err.strerror}") from err
        for old in list_names(fd)[:-KEEP]:
            remove_tree(fd, old)
    finally:
        os.close(fd)
    return os.path.join(roots.data, NAME, target)
