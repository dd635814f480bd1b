"""The user's terminal on one side, a container's on the other: raw mode, copying, size, keys."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # in no stubs; `signal` makes enums
import _socket as socket
import fcntl
import os
import select
import struct
import termios

from gocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CHUNK = 1 << 16
_END_OF_FILE = b"\4"  # the default VEOF of termios(3)
DETACH_KEYS = "ctrl-p,ctrl-q"
_CONTROL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def detach_keys(text: str) -> bytes:
    """Return the bytes of keys as docker writes them: ``ctrl-p,ctrl-q``, ``a``; "" is none.

    Raises:
        UsageError: for anything else.
    """
    found = bytearray()
    for word in text.split(",") if text else ():
        name = word.lower().removeprefix("ctrl-")
        if name != word.lower() and len(name) == 1 and "a" <= name <= "z":
            found.append(ord(name) - ord("a") + 1)
        elif name != word.lower() and name in _CONTROL:
            found.append(_CONTROL[name])
        elif len(word) == 1 and word.isascii():
            found += word.encode()
        else:
            raise UsageError(
                f"--detach-keys: {word!r} is no key",
                hint="a character, or ctrl- with a letter or one of @[\\]^_; separated by commas",
            )
    return bytes(found)


class Keys:
    """Looks for the keys that detach in what is typed."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""
        self.pressed = False

    def take(self, data: bytes) -> bytes:
        """Return what is to be passed on; the beginning of the keys is held back."""
        if not self._keys:
            return data
        out = bytearray()
        for index in range(len(data)):
            self._held += data[index : index + 1]
            while not self._keys.startswith(self._held):
                out.append(self._held[0])
                self._held = self._held[1:]
            if self._held == self._keys:
                self.pressed = True
                break
        return bytes(out)


class Modes:
    """The modes of the user's terminal: raw while a container's program has it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._saved: list[Any] | None = termios.tcgetattr(fd) if os.isatty(fd) else None

    def raw(self) -> None:
        """Pass every key on as it is (termios(3), cfmakeraw); a background process stops here."""
        if self._saved is None:
            return
        new = [*self._saved[:6], [*self._saved[6]]]
        new[0] &= ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
                    | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON)  # fmt: skip
        new[1] &= ~termios.OPOST
        new[2] = new[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        new[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        new[6][termios.VMIN], new[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._fd, termios.TCSANOW, new)

    def restore(self) -> None:
        """Put the modes back, unless the terminal is another job's by now, or gone."""
        if self._saved is None:
            return
        try:
            if os.tcgetpgrp(self._fd) == os.getpgrp():
                termios.tcsetattr(self._fd, termios.TCSANOW, self._saved)
        except (OSError, termios.error):
            return  # hung up


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


def window_size() -> tuple[int, int] | None:
    """Return rows and columns of our terminal; None if there is none, or it does not tell."""
    for fd in (0, 1, 2):
        try:
            rows, columns, _, _ = struct.unpack(
                "HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8))
            )
        except OSError:
            continue
        if rows and columns:
            return rows, columns
    return None


def receive_master(sock: socket.socket) -> int | None:
    """Return the terminal's master that the container's side sends; None if it sends none."""
    _, ancillary, _, _ = sock.recvmsg(64, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS and len(data) >= 4:
            return int(struct.unpack_from("i", data)[0])
    return None


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
