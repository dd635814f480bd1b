from __future__ import annotations

import _socket as socket
import os
import pty
import struct
import termios
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gocker.errors import UsageError
from gocker.terminal import Keys, Modes, detach_keys, receive_fd


@pytest.mark.parametrize(
    ("text", "keys"),
    [("ctrl-p,ctrl-q", b"\x10\x11"), ("a", b"a"), ("ctrl-[,x", b"\x1bx"), ("", b""),
     ("CTRL-A", b"\x01"), ("ctrl-@", b"\0")],
)  # fmt: skip
def test_keys_are_written_as_dockers(text: str, keys: bytes) -> None:
    assert detach_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-ab", "ab", "ctrl-p,", "ä", "shift-a", "ctrl-1"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no key"):
        detach_keys(text)


@given(st.lists(st.binary(max_size=6), max_size=8))
def test_what_is_typed_before_the_keys_is_passed_on_whole(chunks: list[bytes]) -> None:
    keys = Keys(b"\x01\x01\x02")
    out = b"".join(keys.take(chunk) for chunk in chunks)
    typed = b"".join(chunks)
    before, found, _ = typed.partition(b"\x01\x01\x02")
    assert keys.pressed == bool(found)
    if found:
        assert out == before
    else:
        # Only a beginning of the keys may still be held back.
        assert typed.startswith(out)
        assert b"\x01\x01\x02".startswith(typed[len(out) :])


@pytest.fixture
def slave() -> Iterator[int]:
    master, made = pty.openpty()
    yield made
    os.close(master)
    os.close(made)


def test_raw_passes_every_key_on(slave: int) -> None:
    modes = Modes(slave)
    modes.raw()
    found = termios.tcgetattr(slave)
    assert not found[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
    assert not found[0] & (termios.ICRNL | termios.IXON)
    assert not found[1] & termios.OPOST


def test_a_terminal_of_another_session_is_not_touched(slave: int) -> None:
    """A job in the background must not change what the shell has set meanwhile."""
    modes = Modes(slave)
    modes.raw()
    raw = termios.tcgetattr(slave)
    modes.restore()
    assert termios.tcgetattr(slave) == raw


def test_what_is_no_terminal_is_left_alone() -> None:
    read, write = os.pipe()
    modes = Modes(read)
    modes.raw()
    modes.restore()
    os.close(read)
    os.close(write)


def test_a_descriptor_comes_with_its_kind_or_not_at_all() -> None:
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    theirs.sendmsg([b"t"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", write))])
    kind, fd = receive_fd(ours)
    assert kind == b"t"
    assert fd is not None
    os.write(fd, b"x")
    assert os.read(read, 1) == b"x"
    assert not os.get_inheritable(fd)
    theirs.close()
    assert receive_fd(ours) == (b"", None)
    for number in (fd, read, write):
        os.close(number)
    ours.close()
