"""Nothing but gocker's own installation is imported: what the command checks before it does more.

The first import that this module is not yet part of has been done by the interpreter itself:
what PYTHONPATH's ``sitecustomize`` does has happened. `python -I -m gocker` keeps it out, too.
"""

from __future__ import annotations

import os
import stat
import sys

from gocker.errors import HostError

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def isolate() -> None:
    """Take the working directory and what others can write to out of the way of imports.

    Raises:
        HostError: as root, if others can write to the directories of gocker's own modules.
    """
    if not sys.flags.isolated:
        sys.path[:] = [path for path in sys.path if _is_trusted(path)]
    if os.geteuid() == 0:
        for directory in _directories(PACKAGE):
            if _is_open(directory):
                raise HostError(
                    f"others can write to gocker's own code in {directory!r}",
                    hint=f"chmod -R o-w {PACKAGE!r}",
                )


def _is_trusted(path: str) -> bool:
    """Return whether modules may come from an entry of sys.path.

    ``python -m gocker`` puts the working directory first, an empty entry of PYTHONPATH anywhere.
    """
    root = os.path.dirname(PACKAGE)
    if path == root:
        return True
    return os.path.isabs(path) and path != os.getcwd() and not _is_open(path)


def _is_open(path: str) -> bool:
    """Return whether users other than the owner and its group can change a directory."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return bool(mode & stat.S_IWOTH) and stat.S_ISDIR(mode)


def _directories(top: str) -> list[str]:
    """Return a package's directory and those below it."""
    found = [top]
    with os.scandir(top) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found += _directories(entry.path)
    return found
