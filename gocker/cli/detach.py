"""``-d``: the run in a process of its own, which the command waits for only until it has begun.

The process is forked before anything else happens, so it is small then, the launcher is its
child, and what it says until it is detached goes to the terminal as in the foreground. It leads
a session of its own: no Ctrl-C and no hangup of the terminal reaches it.
"""

from __future__ import annotations

import os
import select
import signal
import sys

from gocker.cli import caller
from gocker.scheduler import spawn
from gocker.state import rootless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gocker.cli.session import Session
    from gocker.scheduler.loop import Loop
    from gocker.scheduler.messages import Answer

# In the process that is to be detached: where the command waits for its exit code.
_fd: int | None = None


def fork(execute: Callable[[], int], timeout_s: float | None = None) -> int:
    """Run `execute` in a process of its own; return when it says so, or has ended.

    Args:
        execute: gives the exit code, and calls `report` when it has begun.
        timeout_s: after it the command ends with 1; the process goes on.
    """
    global _fd  # noqa: PLW0603  # this process is one or the other
    read, write = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        os.setsid()
        _fd = write
        spawn.in_background = True
        rootless.register()
        return execute()
    os.close(write)
    try:
        return _follow(pid, read, timeout_s)
    finally:
        os.close(read)


def _follow(pid: int, read: int, timeout_s: float | None) -> int:
    """Return the exit code that the process reports, or its own if it ends before."""
    poll = select.poll()
    poll.register(read, select.POLLIN)
    while True:
        try:
            if not poll.poll(None if timeout_s is None else timeout_s * 1000):
                print(f"gocker: not ready after {timeout_s:g} s; it goes on", file=sys.stderr)  # noqa: T201  # cli prints
                return 1
            code = os.read(read, 1)
        except KeyboardInterrupt:
            # It is our child and not reaped: its number is still its own.
            os.kill(pid, signal.SIGINT)
            continue
        if code:
            return code[0]
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF


class Report:
    """Tells the waiting command that the run has begun, and lets go of the terminal then.

    Args:
        what: what the command waits for: ``decided`` or ``ready`` (`messages.Await`).
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._session: Session
        self._loop: Loop

    def begin(self, loop: Loop, session: Session, operations: Any) -> None:
        """Wait for the machine's word; the containers have been asked for."""
        self._loop, self._session = loop, session
        assert _fd is not None  # noqa: S101  # for the type checker
        # Nothing is ever readable here: an event means that the command is gone.
        loop.selector.register(_fd, 1, lambda: self._detach(1))
        caller.watch(loop.selector)
        operations.when(self._what, tuple(loop.machine.nodes()), self._decided)

    def _decided(self, answer: Answer) -> None:
        self._detach(answer.exit_code)

    def _detach(self, code: int) -> None:
        global _fd  # this process is detached from now on
        if _fd is None:
            return
        fd, _fd = _fd, None
        self._loop.selector.unregister(fd)
        self._loop.record("run.detached", {"process.pid": os.getpid(), "exit_code": code})
        self._session.detach()
        leave_terminal(self._session.run.path)
        self._loop.leave_terminal()
        try:
            os.write(fd, bytes((code,)))
        except BrokenPipeError:
            pass  # the command was interrupted, or did not wait so long
        os.close(fd)


def leave_terminal(directory: str) -> None:
    """Put /dev/null in the place of standard input and output; errors go to the run's log."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    log = os.open(os.path.join(directory, "supervisor.log"), flags, 0o600)
    for fd, target in ((null, 0), (null, 1), (log, 2)):
        os.dup2(fd, target)
    os.close(null)
    os.close(log)
