"""A command in a terminal, as a user's shell starts it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable
from typing import Any

from tests.support import machine


class Tty:
    """A session leader with a pseudo-terminal; what it shows is read as it comes.

    Args:
        argv: the command.
        environ: its environment.
        enter: called in the child before it is executed.
        size: rows and columns.
    """

    def __init__(
        self, argv: list[str], environ: dict[str, str], cwd: str,
        enter: Callable[[], None] | None = None, size: tuple[int, int] = (24, 80),
    ) -> None:  # fmt: skip
        self.master, self._slave = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(self._slave)
        self.shown = b""
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setsid()
                fcntl.ioctl(self._slave, termios.TIOCSCTTY, 0)
                for fd in range(3):
                    os.dup2(self._slave, fd)
                if enter is not None:
                    enter()
                os.chdir(cwd)
                os.execve(argv[0], argv, environ)  # noqa: S606  # what a shell does
            finally:
                os._exit(99)

    def type(self, text: str | bytes) -> None:
        os.write(self.master, text.encode() if isinstance(text, str) else text)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def modes(self) -> list[Any]:
        return termios.tcgetattr(self._slave)

    @property
    def raw(self) -> bool:
        return not self.modes()[3] & termios.ICANON

    def wait_for(self, text: str | bytes) -> bytes:
        """Read until `text` was shown; return what came before, and forget it."""
        wanted = text.encode() if isinstance(text, str) else text
        deadline = time.monotonic() + machine.PATIENCE_S
        while wanted not in self.shown:
            ready, _, _ = select.select([self.master], [], [], deadline - time.monotonic())
            assert ready, (wanted, self.shown)
            self.shown += os.read(self.master, 1 << 16)
        before, _, self.shown = self.shown.partition(wanted)
        return before

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def stopped(self) -> None:
        """Wait until it is stopped."""
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def finish(self) -> int:
        """Wait for its end; return the shell's exit code."""
        pidfd = os.pidfd_open(self.pid)
        try:
            while not select.select([pidfd], [], [], 0)[0]:
                ready, _, _ = select.select([pidfd, self.master], [], [], machine.PATIENCE_S)
                assert ready, self.shown
                if self.master in ready:
                    self.shown += os.read(self.master, 1 << 16)
        finally:
            os.close(pidfd)
        while select.select([self.master], [], [], 0)[0]:
            self.shown += os.read(self.master, 1 << 16)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return code if code >= 0 else 128 - code

    def close(self) -> None:
        """End it, whatever it does, and close the terminal."""
        if self.master < 0:
            return
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(self.master)
        os.close(self._slave)
        self.master = -1
