"""The user's terminal on one side, a container's on the other: copying both ways."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # in no stubs; `signal` makes enums
import _socket as socket
import fcntl
import os
import select
import struct
import termios

from gocker.terminal import Keys, Modes, receive_master, window_size

_CHUNK = 1 << 16
_END_OF_FILE = b"\4"  # the default VEOF of termios(3)


class Console:
    """Copies between our standard input and output and a container's terminal.

    Owns the master. `close` restores our terminal, whatever happened.
    """

    def __init__(self, keys: bytes = b"") -> None:
        self.keys = Keys(keys)
        self._modes = Modes(0)
        self._master = -1
        self._input = b""
        self._output = b""
        self._typing = True
        self._showing = True
        self._out_fd = _own_output()
        self._socket: socket.socket | None = None

    def stdio(self) -> tuple[int, ...]:
        """Return what is passed for the program: a socket, over which its terminal comes."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._theirs = theirs
        return (theirs.fileno(),)

    def passed(self) -> None:
        """Let go of what `stdio` returned: it has been sent."""
        self._theirs.close()

    def open(self, master: int) -> None:
        """Begin to copy; our terminal is raw from here on."""
        self._master = master
        os.set_blocking(master, False)
        self.resize()
        self._modes.raw()

    def close(self) -> None:
        """Restore our terminal and close the other one."""
        self._modes.restore()
        if self._master >= 0:
            os.close(self._master)
            self._master = -1
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._out_fd != 1:
            os.close(self._out_fd)
            self._out_fd = 1

    def resize(self) -> None:
        """Give the container's terminal the size of ours."""
        size = window_size()
        if size is not None and self._master >= 0:
            try:
                fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
            except OSError:
                return  # hung up

    def restore(self) -> None:
        """Give the user's terminal its own modes back."""
        self._modes.restore()

    def suspend(self) -> None:
        """Stop as SIGTSTP would, with our terminal as it was; return when continued."""
        self._modes.restore()
        os.kill(os.getpid(), _signal.SIGSTOP)
        self.resume()

    def resume(self) -> None:
        """Take the terminal again, after a stop that nobody told us of."""
        if self._master >= 0:
            self._modes.raw()
            self.resize()

    def wanted(self) -> dict[int, int]:
        """Return what to wait for: descriptors and their poll(2) masks."""
        if self._master < 0:
            return {} if self._socket is None else {self._socket.fileno(): select.POLLIN}
        found: dict[int, int] = {}
        if self._typing and not self._input:
            found[0] = select.POLLIN
        master = (select.POLLIN if self._showing and not self._output else 0) | (
            select.POLLOUT if self._input else 0
        )
        if master:
            found[self._master] = master
        if self._output:
            found[self._out_fd] = select.POLLOUT
        return found

    def ready(self, fd: int, events: int) -> None:
        """Move what can be moved without waiting."""
        if self._socket is not None and fd == self._socket.fileno():
            self._receive(self._socket)
        elif fd == self._master:
            if events & select.POLLOUT:
                self._write_master()
            if events & ~select.POLLOUT:
                self._read_master()
        elif fd == 0 and self._typing and not self._input:
            self._read_input()
        elif self._output:
            self._write_output()

    def drain(self) -> None:
        """Show what the program wrote before it ended; waits for our own reader."""
        while self._master >= 0:
            if self._output:
                _wait_writable(self._out_fd)
                self._write_output()
                continue
            if self._showing:
                self._read_master()
            if not self._output:
                return

    def ignore(self) -> None:
        """From now on, nobody types or reads: only take what comes."""
        self._typing = False
        self._input = b""
        self._out_fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)

    def _receive(self, sock: socket.socket) -> None:
        master = receive_master(sock)
        sock.close()
        self._socket = None
        if master is not None:  # else the program was not started: it is told elsewhere why
            self.open(master)

    def _read_input(self) -> None:
        try:
            data = os.read(0, _CHUNK)
        except OSError:
            data = b""
        if not data:
            self._typing = False
            self._input = _END_OF_FILE
            return
        self._input = self.keys.take(data)

    def _write_master(self) -> None:
        try:
            self._input = self._input[os.write(self._master, self._input) :]
        except BlockingIOError:
            return
        except OSError:
            self._input = b""  # EIO: nobody has it open

    def _read_master(self) -> None:
        try:
            self._output += os.read(self._master, _CHUNK)
        except BlockingIOError:
            if self._output == b"":
                return
        except OSError:
            self._showing = False  # EIO: the last process that had it open closed it

    def _write_output(self) -> None:
        try:
            written = os.write(self._out_fd, self._output[: select.PIPE_BUF])
        except BlockingIOError:
            return
        except OSError:
            self._output, self._showing = b"", False
            return
        self._output = self._output[written:]


def _wait_writable(fd: int) -> None:
    """Wait until a descriptor can be written."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll()


def _own_output() -> int:
    """Return standard output with a file status of our own, so that it may be non-blocking.

    O_NONBLOCK belongs to the open file, which the user's shell shares.
    """
    if not os.isatty(1):
        return 1
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        return os.open("/proc/self/fd/1", flags)
    except OSError:
        return 1
