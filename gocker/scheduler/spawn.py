"""Starts the launcher's process. Imports next to nothing: it is the first thing a start does."""

from __future__ import annotations

# `socket` itself is 60 constants made into enums and a selector: 3 ms before the launcher runs.
import _socket
import os
import sys

_CODE = (
    "import sys; sys.path.insert(0, {root!r}); "
    "{arm}from gocker.runtime.interpreter import main; main()"
)
_ARM = "from gocker.runtime import failpoints; failpoints.arm({text!r}); "


# In a process that goes on in the background launchers and all that they start must not hold the
# terminal, or the pipe of whoever waits for the end of the command's output.
in_background = False
_NO_TERMINAL = (
    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
    (os.POSIX_SPAWN_DUP2, 0, 1),
    (os.POSIX_SPAWN_DUP2, 0, 2),
)


def spawn() -> tuple[int, _socket.socket]:
    """Start the launcher; return its pid and our end of the socket to it.

    Not through gocker.cli: the launcher has to be a small process of its own, isolated (-I)
    from PYTHON* variables, the user's site directory and the working directory.
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    os.set_inheritable(theirs.fileno(), True)
    # What tests want to fail there; said here, since the launcher's environment is empty.
    faults = os.environ.get("GOCKER_FAILPOINTS")
    code = _CODE.format(root=root, arm=_ARM.format(text=faults) if faults else "")
    command = [sys.executable, "-I", "-S", "-c", code, str(theirs.fileno())]
    # Nothing of the caller's environment: it would be readable in /proc/PID/environ of a
    # process that enters containers.
    try:
        actions = _NO_TERMINAL if in_background else ()
        pid = os.posix_spawn(sys.executable, command, {}, file_actions=actions, setsid=True)
    except OSError as error:
        from gocker.errors import HostError

        ours.close()
        raise HostError(
            f"cannot start the launcher: {sys.executable!r}: {error.strerror}",
            hint="install gocker where this user may execute its interpreter; in a container see "
            "that its seccomp filter allows clone3",
        ) from error
    finally:
        theirs.close()
    return pid, ours


def fork_entrance() -> tuple[int, _socket.socket]:
    """Fork a process that enters one running container (`gocker.runtime.entrance`).

    It shares nothing with this one from then on but the socket; that it was forked instead of
    executed spares two starts of the interpreter. Only before anything else is done: it inherits
    what is there.
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid:
        theirs.close()
        return pid, ours
    try:
        ours.close()
        os.setsid()
        # Named by a text, as in `_CODE`: it is the other half's process.
        from importlib import import_module

        import_module("gocker.runtime.entrance").main(theirs.detach())
    finally:
        os._exit(70)
