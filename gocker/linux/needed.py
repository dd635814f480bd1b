"""Which system calls gocker cannot do without are there: asked before anything is started.

An old kernel says ENOSYS; a seccomp filter around gocker (a container's) says that or EPERM. Each
is called with arguments that no kernel accepts, so that nothing happens, and a kernel that has it
answers something else. Source: seccomp(2); the man page of each call, ERRORS.
"""

from __future__ import annotations

import ctypes
from errno import ENOSYS, EPERM

from gocker.linux.libc import INT, LONG, PTR, STR, UINT, prototype, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_NO_FLAGS = 0xFFFFFFFF
# move_mount(2) and pivot_root(2) look at the caller's capabilities first, which a launcher has.
_PROBES: tuple[tuple[str, Callable[[], int]], ...] = (
    ("clone3", lambda: syscall("clone3", PTR, LONG)(None, 0)),
    ("close_range", lambda: syscall("close_range", UINT, UINT, UINT)(1, 0, 0)),
    ("openat2", lambda: syscall("openat2", INT, STR, PTR, LONG)(-1, None, None, 0)),
    ("open_tree", lambda: syscall("open_tree", INT, STR, UINT)(-1, None, _NO_FLAGS)),
    ("move_mount",
     lambda: syscall("move_mount", INT, STR, INT, STR, UINT)(-1, None, -1, None, _NO_FLAGS)),
    ("mount_setattr",
     lambda: syscall("mount_setattr", INT, STR, UINT, PTR, LONG)(-1, None, _NO_FLAGS, None, 0)),
    ("pidfd_open", lambda: syscall("pidfd_open", INT, UINT)(-1, 0)),
    ("pidfd_send_signal",
     lambda: syscall("pidfd_send_signal", INT, INT, PTR, UINT)(-1, 0, None, 0)),
    ("pivot_root", lambda: syscall("pivot_root", STR, STR)(None, None)),
    ("setns", lambda: prototype("setns", INT, INT)(-1, 0)),
    ("unshare", lambda: prototype("unshare", INT)(0)),
)  # fmt: skip


def missing() -> dict[str, int]:
    """Return the calls that cannot be made here, with ENOSYS or EPERM."""
    found = {}
    for name, probe in _PROBES:
        ctypes.set_errno(0)
        if probe() < 0 and ctypes.get_errno() in (ENOSYS, EPERM):
            found[name] = ctypes.get_errno()
    return found
