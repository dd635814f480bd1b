"""``run`` without ``--detach``: forward signals, serve the terminal, end as the container ends.

termios is imported where there is a terminal.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal

from gocker.runtime.oci import console
from gocker.runtime.oci.container import send_signal
from gocker.runtime.oci.create import undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.runtime.oci.create import Created
    from gocker.runtime.oci.main import Globals

_NOT_FORWARDED = {signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP, signal.SIGURG, signal.SIGPIPE,
                  signal.SIGWINCH, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}  # fmt: skip
_BLOCK = 65536


def wait(globals_: Globals, made: Created, master: int, *, keep: bool) -> int:
    """Wait for the container's end and delete it, unless `keep`; return its exit code.

    Args:
        globals_: of the command line.
        made: a container that runs, its lock held by us.
        master: of its terminal, or -1.
        keep: leave it stopped.
    """
    made.container.directory.unlock()
    code = serve(made.pidfd, master=master)
    if not keep:
        made.container.directory.lock()
        undo(made.container, made.config["hooks"].get("poststop", ()), globals_.log)
    return code


def receive(connection: int) -> int:
    """Return a terminal's master from our end of its console socket, which is closed.

    The ends of lines are for whoever shows the output to change, as runc has it.
    """
    import termios

    master = console.receive(connection)
    os.close(connection)
    mode = termios.tcgetattr(master)
    mode[1] &= ~termios.ONLCR
    termios.tcsetattr(master, termios.TCSANOW, mode)
    return master


def serve(pidfd: int, connection: int = -1, master: int = -1) -> int:
    """Serve a child of ours until its end; return its exit code, 128+n for a signal.

    Args:
        pidfd: its; closed at the end.
        connection: where its terminal's master comes through, or -1; closed.
        master: of its terminal, if it came already; closed.
    """
    wake_r, wake_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
    for number in signal.valid_signals():
        if number not in _NOT_FORWARDED or number == signal.SIGWINCH:
            try:
                signal.signal(number, lambda *_: None)
            except OSError:
                continue  # one of the C library's own
    terminal = None
    if connection >= 0:
        master = receive(connection)
    if master >= 0:
        terminal = _Terminal(master)
    try:
        _serve(pidfd, wake_r, terminal)
    finally:
        if terminal is not None:
            terminal.close()
    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)
    status = result.si_status if result is not None else 255
    exited = result is not None and result.si_code == os.CLD_EXITED
    return status if exited else 128 + status


def _serve(pidfd: int, wake: int, terminal: _Terminal | None) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(wake, select.POLLIN)
    if terminal is not None:
        terminal.register(poll)
    ended = False
    while not ended:
        for fd, events in poll.poll():
            if fd == pidfd:
                ended = True
            elif fd == wake:
                _forward(pidfd, os.read(wake, 4096), terminal)
            elif terminal is not None:
                terminal.serve(fd, events, poll)
    if terminal is not None:
        terminal.drain()


def _forward(pidfd: int, numbers: bytes, terminal: _Terminal | None) -> None:
    for number in numbers:
        if number == signal.SIGWINCH:
            if terminal is not None:
                terminal.resize()
        elif number not in _NOT_FORWARDED:
            send_signal(pidfd, number)


class _Terminal:
    """Our own terminal in raw mode, and the container's master: each copied to the other."""

    def __init__(self, master: int) -> None:
        import termios

        self._master = master
        self._saved: list[Any] | None = None
        if os.isatty(0):
            self._saved = termios.tcgetattr(0)
            self.resize()
            raw = termios.tcgetattr(0)
            raw[0] &= ~(termios.BRKINT | termios.ICRNL | termios.INPCK | termios.ISTRIP
                        | termios.IXON)  # fmt: skip
            raw[1] &= ~termios.OPOST
            raw[2] = raw[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
            raw[3] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN | termios.ISIG)
            raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
            termios.tcsetattr(0, termios.TCSANOW, raw)

    def register(self, poll: select.poll) -> None:
        poll.register(0, select.POLLIN)
        poll.register(self._master, select.POLLIN)

    def resize(self) -> None:
        """Give the container's terminal the size of ours."""
        import termios

        if os.isatty(0):
            size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def serve(self, fd: int, events: int, poll: select.poll) -> None:
        target = self._master if fd == 0 else 1
        data = b""
        if events & select.POLLIN or fd == 0:
            try:
                data = os.read(fd, _BLOCK)
            except OSError:
                data = b""  # EIO: the other side of the terminal is closed
        if not data:
            poll.unregister(fd)
            if fd == 0 and self._saved is None:
                os.write(
                    self._master, b"\4"
                )  # end of file, as the terminal's line discipline says it
            return
        _write_all(target, data)

    def drain(self) -> None:
        """Copy what the container's last words were."""
        os.set_blocking(self._master, False)
        while True:
            try:
                data = os.read(self._master, _BLOCK)
            except OSError:
                return
            if not data:
                return
            _write_all(1, data)

    def close(self) -> None:
        import termios

        if self._saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)
        os.close(self._master)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
