"""Terminals: made in the container, handed out through the console socket.

The protocol is runc's: a stream socket that the caller listens on; we connect and send the
pseudo-terminal's master by SCM_RIGHTS, with its name as data.
Source: runc docs/terminals.md; ioctl_tty(2), pts(4), devpts in Documentation/filesystems.
"""

from __future__ import annotations

import _socket as socket
import array
import fcntl
import os
import stat
import struct
from errno import ENOENT

from gocker.errors import ContainerError, SyscallError
from gocker.linux import mount
from gocker.linux.path import RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, open_or_make, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# include/uapi/asm-generic/ioctls.h
_TIOCSCTTY, _TIOCSWINSZ, _TIOCSPTLCK, _TIOCGPTPEER = 0x540E, 0x5414, 0x40045431, 0x5441


def connect(path: str) -> int:
    """Connect to a console socket; return a descriptor of the connection.

    Raises:
        ContainerError: phase console.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # By descriptor: sun_path takes 107 bytes only (unix(7)).
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            sock.connect(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
    except OSError as error:
        sock.close()
        raise ContainerError(
            f"cannot connect to the console socket {path!r}: {error.strerror}", phase="console"
        ) from error
    return sock.detach()


def send(connection: int, master: int, name: str) -> None:
    """Hand a terminal's master over."""
    sock = socket.socket(fileno=os.dup(connection))
    try:
        rights = array.array("i", [master]).tobytes()
        sock.sendmsg([name.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    finally:
        sock.close()


def receive(connection: int) -> int:
    """Return the master that `send` handed over at the other end.

    Raises:
        ContainerError: phase console; there was none.
    """
    sock = socket.socket(fileno=os.dup(connection))
    try:
        _, ancillary, _, _ = sock.recvmsg(4096, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    finally:
        sock.close()
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            return int(struct.unpack_from("i", data)[0])
    raise ContainerError("no terminal came through the console socket", phase="console")


def open_in(root_fd: int, connection: int, program: dict[str, Any]) -> None:
    """Make a pseudo-terminal in the container; make it ours, and /dev/console.

    Its slave becomes descriptors 0 to 2 and the controlling terminal, its master goes through
    `connection`. This process leads a session of its own.

    Raises:
        ContainerError: phase terminal; no devpts in the container.
    """
    master = _open_master(root_fd)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    # Not by its name, which could be anything in the container (Linux 4.13).
    slave: int = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    size = program.get("consoleSize")
    if size and size["height"] and size["width"]:
        fcntl.ioctl(slave, _TIOCSWINSZ, struct.pack("HHHH", size["height"], size["width"], 0, 0))
    user = program.get("user", {}).get("uid", 0)
    os.fchown(slave, user, -1)
    _bind_console(root_fd, slave)
    send(connection, master, "/dev/ptmx")
    os.close(master)
    fcntl.ioctl(slave, _TIOCSCTTY, 0)
    for fd in range(3):
        os.dup2(slave, fd, inheritable=True)
    if slave > 2:
        os.close(slave)


def _open_master(root_fd: int) -> int:
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS
    try:
        master = openat2(root_fd, "/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY, resolve)
    except SyscallError as error:
        if error.errno != ENOENT:
            raise
        raise ContainerError(
            "process.terminal needs a devpts file system on /dev/pts",
            hint='add {"destination": "/dev/pts", "type": "devpts", "source": "devpts"} to mounts',
            phase="terminal",
        ) from error
    information = os.fstat(master)
    if not stat.S_ISCHR(information.st_mode) or os.major(information.st_rdev) != 5:
        raise ContainerError("/dev/pts/ptmx in the container is no terminal", phase="terminal")
    return master


def _bind_console(root_fd: int, slave: int) -> None:
    target = open_or_make(root_fd, "/dev/console", directory=False)
    try:
        mount.mount(f"/proc/self/fd/{slave}", f"/proc/self/fd/{target}", None, mount.MS_BIND)
    finally:
        os.close(target)
