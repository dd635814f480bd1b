"""The launcher runs from a read-only copy of the interpreter's mount.

A container that shares a PID namespace with a process of gocker's (its PID 1 with ``init: true``,
a command on its way to be executed) can get a descriptor of that process's ``/proc/PID/exe``, and
write through it once the program no longer runs: the host's Python (CVE-2019-5736). A descriptor
knows the mount it was opened through. So the launcher executes the interpreter again through a
detached clone of its mount that is read-only: whatever is opened through it answers EROFS,
and the children inherit it. runc copies itself into a sealed memfd instead, which costs a copy of
the program in memory (docs/security.md has both prices).
"""

from __future__ import annotations

import os
import sys

from gocker.errors import SyscallError
from gocker.linux import mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


# The last argument of the second start: there is no third, whatever the kernel says of the mount.
_SECOND = "read-only"


def execute_read_only(arguments: Sequence[str]) -> None:
    """Execute this interpreter with `arguments` anew; return where the host cannot do that.

    Without CAP_SYS_ADMIN or before Linux 5.12 there is no such clone, without a procfs no way
    to name it.
    """
    try:
        fd = mount.open_tree(mount.AT_FDCWD, sys.executable, mount.OPEN_TREE_CLONE)
        attributes = mount.MOUNT_ATTR_RDONLY | mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV
        mount.mount_setattr(fd, "", attr_set=attributes)
        # The descriptor is close-on-exec: the kernel has the file open when it is closed.
        path = f"/proc/self/fd/{fd}"
        os.execve(path, [sys.executable, *arguments], {})  # noqa: S606  # our own interpreter
    except (SyscallError, OSError):
        return


def is_read_only() -> bool:
    """Return whether this process was started from a read-only mount, which nobody can undo."""
    try:
        return bool(os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY)
    except OSError:
        return False


def main() -> None:
    """Become the launcher, by way of the read-only interpreter."""
    if os.geteuid() == 0 and sys.argv[-1] != _SECOND:
        execute_read_only([*sys.orig_argv[1:], _SECOND])
    from gocker.runtime.launcher import main as serve

    serve()
