"""A container's terminal: made in its own devpts, its master handed to whoever types.

Nothing of the caller's terminal is ever in the container (CVE-2017-5226), and no name in the
container is trusted: its ptmx is opened without links and has to be one of a devpts, the other
end comes from the kernel (TIOCGPTPEER), and /dev/console is bound by descriptor (CVE-2025-52565).
"""

from __future__ import annotations

import _socket as socket
import os
import struct
from errno import ELOOP, ENOENT, ENOTDIR

from gocker.errors import ContainerError, SyscallError
from gocker.linux import mount, terminal
from gocker.linux.path import RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, open_or_make, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker import oci


def open_in(
    root_fd: int, console_fd: int, process: oci.Process, *, console: bool, control: bool = True
) -> None:
    """Make a terminal in a container; make it this process's standard input, output and error.

    This process leads a session of its own.

    Args:
        root_fd: the container's root.
        console_fd: a socket; the master is sent through it.
        process: OCI's, for consoleSize.
        console: whether it is the container's /dev/console, too.
        control: whether it becomes the session's controlling terminal.

    Raises:
        ContainerError: phase terminal; there is no devpts.
    """
    master = _open_master(root_fd)
    slave = terminal.open_slave(master)
    if not terminal.is_slave(slave):
        raise ContainerError("the kernel gave no terminal of a devpts", phase="terminal")
    size = process.get("consoleSize")
    if size is not None:
        terminal.set_size(slave, size["height"], size["width"])
    if console:
        _bind_console(root_fd, slave)
    send(console_fd, master)
    os.close(master)
    if control:
        terminal.set_controlling(slave)
    for fd in range(3):
        os.dup2(slave, fd, inheritable=True)
    if slave > 2:
        os.close(slave)


def send(console_fd: int, master: int) -> None:
    """Send a terminal's master through a socket, as runc does: docs/terminals.md there."""
    sock = socket.socket(fileno=os.dup(console_fd))
    try:
        rights = struct.pack("i", master)
        sock.sendmsg([b"/dev/ptmx"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    finally:
        # Not left to the collector: that may run in the launcher, see init.
        sock.close()


def _open_master(root_fd: int) -> int:
    try:
        master = openat2(
            root_fd, "/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY,
            RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS,
        )  # fmt: skip
    except SyscallError as error:
        if error.errno not in (ENOENT, ENOTDIR, ELOOP):
            raise
        raise _no_devpts() from error
    if not terminal.is_master(master):
        os.close(master)
        raise _no_devpts()
    return master


def _no_devpts() -> ContainerError:
    return ContainerError(
        "a terminal needs a devpts file system on /dev/pts in the container",
        hint="mount one there: type devpts, options newinstance and ptmxmode=0666",
        phase="terminal",
    )


def _bind_console(root_fd: int, slave: int) -> None:
    target = open_or_make(root_fd, "/dev/console", directory=False)
    tree = -1
    try:
        tree = mount.open_tree(slave, "", mount.OPEN_TREE_CLONE | mount.AT_EMPTY_PATH)
        mount.move_mount(tree, target)
    finally:
        os.close(target)
        if tree >= 0:
            os.close(tree)
