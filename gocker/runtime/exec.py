"""A further process in a running container, with the confinement of its first one."""

from __future__ import annotations

import json
import os
import signal
import time
from errno import ESRCH

from gocker.errors import SyscallError
from gocker.linux import process
from gocker.linux.calls import Calls
from gocker.runtime import init, program, userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.runtime.container import Container
    from gocker.wire import Message


class Execution:
    """A process started by the ``exec`` request. Owns its pidfd and status pipe."""

    __slots__ = ("_status_fd", "_timed_out", "deadline", "id", "pid", "pidfd")

    def __init__(
        self, message: Message, container: Container, stdio: list[int], own_pidns: int,
    ) -> None:  # fmt: skip
        self.id: str = message["exec_id"]
        self._timed_out = False
        timeout_s = message.get("timeout_s")
        self.deadline: float | None = time.monotonic() + timeout_s if timeout_s else None
        self._status_fd, status_fd = os.pipe2(os.O_CLOEXEC)
        join_fds = [*container.cgroup.fds()]
        in_pidns = container.entered & process.CLONE_NEWPID
        try:
            if in_pidns:
                # Only children of this process change; it goes back at once.
                process.setns(container.pidfd, process.CLONE_NEWPID)
            self.pid, self.pidfd = process.clone3(
                process.CLONE_CLEAR_SIGHAND, container.cgroup.dir_fd()
            )
            if self.pid == 0:
                _run(message["process"], container, join_fds, stdio, status_fd)
        except SyscallError:
            os.close(self._status_fd)
            raise
        finally:
            if in_pidns:
                process.setns(own_pidns, process.CLONE_NEWPID)
            os.close(status_fd)
            container.cgroup.close_fds()

    def time_out(self) -> None:
        """Kill the process and its process group."""
        self._timed_out = True
        self.deadline = None
        try:
            # It leads a session of its own; not reaped yet, so its number is still its own.
            os.killpg(self.pid, signal.SIGKILL)
            process.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except OSError as error:
            if error.errno != ESRCH:
                raise

    def wait(self) -> dict[str, Any]:
        """Reap the process, which has ended; return the fields of ``exec_exited``."""
        data = os.read(self._status_fd, 65536)
        os.close(self._status_fd)
        result = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        os.close(self.pidfd)
        exited = result is not None and result.si_code == os.CLD_EXITED
        status = result.si_status if result is not None else None
        fields: dict[str, Any] = {
            "code": status if exited else None,
            "signal": None if exited else status,
            "timed_out": self._timed_out,
        }
        return fields | ({"error": json.loads(data)} if data else {})


def _run(  # the child's whole state, by name
    spec: Any, container: Container, join_fds: list[int], stdio: list[int], status_fd: int
) -> None:  # fmt: skip
    """Enter the container and become the program. Never returns.

    Order: cgroup, then all namespaces at once, then identity and confinement (security.md G3).
    """
    phase = "exec"
    failure: BaseException | None
    try:
        os.setsid()
        for target, fd in enumerate(stdio):
            os.dup2(fd, target, inheritable=True)
        process.prctl(process.PR_SET_DUMPABLE, 0)
        container.cgroup.join(join_fds)
        process.setns(container.pidfd, container.entered & ~process.CLONE_NEWPID)
        if container.entered & process.CLONE_NEWUSER:
            userns.become_root()
        phase = "process"
        calls = Calls()
        program.finish(calls, spec, container.program, keep_fd=status_fd)
        failure = calls.run()
    except BaseException as error:  # whatever it is must reach the launcher
        failure = error
    if failure is not None:
        os.write(status_fd, json.dumps(init.explain(failure, phase), default=str).encode())
    os._exit(init.FAILED_EXIT_CODE)
