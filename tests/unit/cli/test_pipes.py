"""Descriptors for a program that gets no terminal, where ours are one."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

# A program whose last words come while its first ones still wait to be shown.
LAST_WORDS = """
import os, select
from gocker.cli.pipes import Pipes

pipes = Pipes()
_, out, err = pipes.stdio()
os.write(out, b"first\\n")
poll = select.poll()
for fd, mask in pipes.wanted().items():
    poll.register(fd, mask)
for fd, events in poll.poll():
    pipes.ready(fd, events)
os.write(out, b"second\\n")
os.write(err, b"third\\n")
pipes.passed()
pipes.drain()
pipes.close()
"""


def test_what_was_read_and_not_yet_shown_is_not_lost_at_the_end() -> None:
    master, slave = pty.openpty()
    try:
        argv = [sys.executable, "-c", LAST_WORDS]
        subprocess.run(argv, stdin=slave, stdout=slave, stderr=slave, check=True)
        shown = os.read(master, 4096)
    finally:
        os.close(master)
        os.close(slave)
    assert shown == b"first\r\nsecond\r\nthird\r\n"
