"""The user's terminal: its modes, its size, the keys that detach; how a master is received.

Ground, because both halves use it: the front for `exec` and `run`, the OCI command line for its
foreground. Source: termios(3), ioctl_tty(2), unix(7).
"""

from __future__ import annotations

import _socket as socket
import fcntl
import os
import struct
import termios

from gocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
    return receive_fd(sock)[1]


def receive_fd(sock: socket.socket) -> tuple[bytes, int | None]:
    """Return what came through a socket: bytes, and the descriptor beside them or None."""
    text, ancillary, _, _ = sock.recvmsg(64, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS and len(data) >= 4:
            return text, int(struct.unpack_from("i", data)[0])
    return text, None
