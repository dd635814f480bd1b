"""Descriptors for a program that gets no terminal, where ours are one."""

from __future__ import annotations

import os
import pty
import select

from gocker.cli.pipes import Pipes


def last_words() -> None:
    """Have what waits to be shown when the program writes on and ends."""
    pipes = Pipes()
    _, out, err = pipes.stdio()
    os.write(out, b"first\n")
    (source,) = (fd for fd, _ in select_ready(pipes) if fd > 2)
    pipes.ready(source, select.POLLIN)
    os.write(out, b"second\n")
    os.write(err, b"third\n")
    pipes.passed()
    pipes.drain()
    pipes.close()


def select_ready(pipes: Pipes) -> list[tuple[int, int]]:
    poll = select.poll()
    for fd, mask in pipes.wanted().items():
        poll.register(fd, mask)
    return poll.poll()


def test_what_was_read_and_not_yet_shown_is_not_lost_at_the_end() -> None:
    pid, master = pty.fork()
    if pid == 0:
        code = 1
        try:
            last_words()
            code = 0
        finally:
            os._exit(code)
    shown = b""
    try:
        while data := os.read(master, 4096):
            shown += data
    except OSError:  # EIO: the last one that had it open is gone
        pass
    finally:
        os.close(master)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert shown == b"first\r\nsecond\r\nthird\r\n"
