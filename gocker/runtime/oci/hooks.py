"""The six kinds of hooks. Source: runtime-spec config.md "POSIX-platform Hooks", runtime.md.

A hook gets the container's state on standard input. What it writes goes into the error if it
fails, and nowhere else: standard output of a caller is not a hook's. It dies with us.
"""

from __future__ import annotations

import os
import select
import signal
import time

from gocker import jsontext
from gocker.errors import ContainerError
from gocker.linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SHOWN = 2000  # characters of a failed hook's output in its error
_NOT_EXECUTED = 127


def run_all(name: str, hooks: list[dict[str, Any]], state: dict[str, Any], cwd: str) -> None:
    """Run the hooks of one kind in their order; the first that fails ends it.

    Args:
        name: the kind, for messages.
        hooks: as in the configuration.
        state: OCI's state, as it is now.
        cwd: working directory, as this process sees it.

    Raises:
        ContainerError: phase `name`: a hook could not be executed, failed or took too long.
    """
    for index, hook in enumerate(hooks):
        _run(f"{name} hook #{index}", name, hook, state, cwd)


def warn_all(
    name: str, hooks: list[dict[str, Any]], state: dict[str, Any], cwd: str
) -> list[ContainerError]:
    """Run the hooks of one kind, each whatever became of the others; return what failed."""
    failed = []
    for index, hook in enumerate(hooks):
        try:
            _run(f"{name} hook #{index}", name, hook, state, cwd)
        except ContainerError as error:
            failed.append(error)
    return failed


def _run(label: str, phase: str, hook: dict[str, Any], state: dict[str, Any], cwd: str) -> None:
    text = jsontext.dumps(state).encode()
    stdin, output = os.memfd_create("state"), os.memfd_create("output")
    try:
        os.write(stdin, text)
        os.lseek(stdin, 0, os.SEEK_SET)
        parent = os.pidfd_open(os.getpid())
        pid = os.fork()
        if pid == 0:
            _execute(hook, stdin, output, parent, cwd)
        os.close(parent)
        timed_out, status = _wait(pid, hook.get("timeout"))
        said = os.pread(output, _SHOWN, max(0, os.fstat(output).st_size - _SHOWN))
    finally:
        os.close(stdin)
        os.close(output)
    if timed_out:
        reason = f"{phase} hook timed out after {hook['timeout']} s"
    elif status < 0:
        reason = f"{phase} hook was killed by signal {-status}"
    elif status:
        reason = f"{phase} hook failed with exit code {status}"
    else:
        return
    words = said.decode("utf-8", "replace").strip()
    raise ContainerError(
        f"error running {label}: {hook['path']!r}: {reason}" + (f": {words}" if words else ""),
        phase=phase,
    )


def _execute(hook: dict[str, Any], stdin: int, output: int, parent: int, cwd: str) -> None:
    """Become the hook. Never returns."""
    try:
        process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
        if select.select([parent], [], [], 0)[0]:
            os._exit(_NOT_EXECUTED)
        os.setsid()
        os.dup2(stdin, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        process.close_range(3, 0xFFFFFFFF)
        os.umask(0o022)
        os.chdir(cwd)
        environment = dict(os.environ)  # what "not set" means is not specified: as crun
        if "env" in hook:
            environment = dict(item.split("=", 1) for item in hook["env"] if "=" in item)
        os.execve(hook["path"], hook.get("args") or [hook["path"]], environment)  # noqa: S606
    except BaseException as error:  # the parent reads it from the output
        os.write(2, f"{getattr(error, 'strerror', None) or error}".lower().encode())
    os._exit(_NOT_EXECUTED)


def _wait(pid: int, timeout_s: int | None) -> tuple[bool, int]:
    """Reap a hook; kill its session when its time is over. Return (timed out, exit code)."""
    timed_out = False
    if timeout_s is not None:
        fd = os.pidfd_open(pid)
        until = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        timed_out = not poll.poll(max(0.0, until - time.monotonic()) * 1000)
        os.close(fd)
        if timed_out:
            os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return timed_out, os.waitstatus_to_exitcode(status)
