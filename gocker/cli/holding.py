"""A project that may be living: its lock, or its supervisor to be asked."""

from __future__ import annotations

import os
import time

from gocker.errors import GockerError
from gocker.state.control import KEPT, ControlLostError, connect, open_directory
from gocker.state.locks import InUseError
from gocker.state.run import project_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from gocker.state.control import Channel
    from gocker.state.locks import Lock
    from gocker.state.roots import Roots

    T = TypeVar("T")
    S = TypeVar("S")

# How long a command waits for another one that holds the project and does not answer.
PATIENCE_S = 60.0
# How long one that listens may take to answer: its loop needs milliseconds.
ANSWER_S = 10.0
_AGAIN_S = 0.02


def hold_or_join(
    roots: Roots, project: str, timeout_s: float = PATIENCE_S
) -> tuple[Lock | None, Channel | None]:
    """Return the project's lock, or else a connection to who holds it.

    Raises:
        HostError: naming the holder, if it does not answer within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            lock = project_lock(roots, project)
            if not is_kept(roots, project) or not _revive(roots, project, lock):
                return lock, None
        except InUseError:
            channel = connect(roots, project)
            if channel is not None:
                answers = _answers(channel)
                if answers:
                    return None, channel
                channel.close()
                if answers is None:
                    continue
                raise  # it was stopped by SIGSTOP or Ctrl-Z, or it hangs
            # It is about to listen, or about to end: milliseconds, and no event tells.
            if time.monotonic() >= deadline:
                raise
            time.sleep(_AGAIN_S)


def is_kept(roots: Roots, project: str) -> bool:
    """Return whether containers of the project may have outlived a supervisor."""
    directory = open_directory(roots, project)
    try:
        return os.access(KEPT, os.F_OK, dir_fd=directory, follow_symlinks=False)
    finally:
        os.close(directory)


def _revive(roots: Roots, project: str, lock: Lock) -> bool:
    from gocker.cli.revive import revive

    try:
        return revive(roots, project, lock)
    except BaseException:
        lock.close()
        raise


def join_kept(roots: Roots, project: str) -> None:
    """Give the project a supervisor again if its containers have outlived theirs."""
    if is_kept(roots, project):
        lock, channel = hold_or_join(roots, project)
        for opened in (lock, channel):
            if opened is not None:
                opened.close()


def _answers(channel: Channel) -> bool | None:
    """Return whether a supervisor answers within `ANSWER_S`; None if it has ended."""
    try:
        return channel.call("hello", patience_s=ANSWER_S) is not None
    except ControlLostError:
        return None


def ask_or(
    roots: Roots, project: str, ask: Callable[[Channel], T], dead: Callable[[Lock], S]
) -> T | S:  # fmt: skip
    """Ask a living project, or do with a dead one what `dead` does while it holds it.

    A supervisor that ends meanwhile, or is being brought down, makes a dead project.
    """
    while True:
        lock, channel = hold_or_join(roots, project)
        if lock is not None:
            with lock:
                return dead(lock)
        assert channel is not None  # noqa: S101  # for the type checker
        with channel:
            try:
                return ask(channel)
            except ControlLostError:
                continue
            except GockerError as error:
                if not error.context.get("closing"):
                    raise
                until_end(channel)


def until_end(channel: Channel) -> None:
    """Wait until the supervisor has closed the connection: its run is over."""
    try:
        while True:
            channel.receive()
    except ControlLostError:
        pass
