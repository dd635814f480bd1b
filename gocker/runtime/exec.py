"""A further process in a running container, with the confinement of its first one.

Order: cgroups, then all namespaces at once, then root, capabilities, no_new_privs, seccomp,
groups and user (security.md G3), the latter by the very code that starts a container's first
process (`runtime/program.py`).
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # no enums: they take 3 ms
import itertools
import os
import resource
import select
import time
from errno import ESRCH

from gocker import jsontext
from gocker.errors import SyscallError
from gocker.linux import process
from gocker.linux.calls import Calls
from gocker.linux.seccomp import NEW_LISTENER
from gocker.nested import in_user_namespace
from gocker.runtime import attributes, descendants, listener, program, terminal, userns
from gocker.runtime.failure import FAILED_EXIT_CODE, explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gocker import oci
    from gocker.cgroup.group import Cgroup
    from gocker.runtime.target import Target

_serial = itertools.count(1)


class Execution:
    """A process in a container. Owns its pidfd and status pipe; `wait` ends both.

    Args:
        spec: OCI's process.
        target: the container; has to stay open until this returns.
        stdio: descriptors of standard input, output and error; stay the caller's.
        timeout_s: after it `time_out` is to be called, which kills the process with everything
            that it started: it gets a cgroup of its own below the container's for that.
        detach: whether it outlives this process.
        landlock: limits by landlock(7), or None.
        console_fd: with ``spec.terminal``, a socket to which the new terminal's master is sent;
            `stdio` is not used then.
        first_fd: the first descriptor that the program does not get.
        orphan: whether it is given to the container's PID 1 at once; `pid` is another process's
            then, which ends with 0 when that is done.

    Raises:
        ContainerError: the container is paused.
        SyscallError: if there is no process.
    """

    __slots__ = (
        "_hand_on", "_members", "_timed_out", "deadline", "detach", "group", "orphan", "pid",
        "pidfd", "status_fd",
    )  # fmt: skip

    def __init__(
        self, spec: oci.Process, target: Target, stdio: list[int], *,
        timeout_s: float | None = None, detach: bool = False, orphan: bool = False,
        console_fd: int = -1, first_fd: int = 3,
        landlock: oci.Landlock | None = None,
        hand_on: Callable[[bytes, int, int], None] | None = None,
    ) -> None:  # fmt: skip
        target.refuse_paused()
        self._hand_on = hand_on
        asks = target.seccomp is not None and bool(target.seccomp[1] & NEW_LISTENER)
        self.detach = detach or orphan
        self.orphan = orphan
        self._timed_out = False
        self._members = target.group
        # Made for this execution alone, removed by `wait` or, later, by the owner of this.
        self.group = _own_group(target) if timeout_s else None
        self.deadline: float | None = time.monotonic() + timeout_s if timeout_s else None
        waits = asks and hand_on is not None
        self.status_fd, status_fd = listener.pair() if waits else os.pipe2(os.O_CLOEXEC)
        try:
            entry = _Entry(spec, target, stdio, status_fd, self.group)
            entry.detach, entry.orphan = self.detach, orphan
            entry.console_fd, entry.first_fd = console_fd, first_fd
            entry.landlock = landlock
            entry.waits = waits
            try:
                self.pid, self.pidfd = _clone(entry, target, self.group)
            finally:
                os.close(entry.parent_fd)
        except BaseException:
            os.close(self.status_fd)
            if self.group is not None:
                self.group.remove()
            raise
        finally:
            os.close(status_fd)
            target.cgroup.close_fds()
            if self.group is not None:
                self.group.close_fds()

    def signal(self, number: int) -> None:
        """Send a signal to the process; none if it has ended."""
        try:
            process.pidfd_send_signal(self.pidfd, number)
        except SyscallError as error:
            if error.errno != ESRCH:
                raise

    def time_out(self) -> None:
        """Kill the process and everything that it started."""
        self._timed_out = True
        self.deadline = None
        self.kill()

    def kill(self) -> None:
        """Kill the process and what it started, as far as that can still be told.

        With a `timeout_s` that is everything; else all whose parents still live.
        """
        if self.group is not None:
            self.group.kill()
        elif self._members is not None and self._members.directories:
            descendants.kill(self.pid, self._members.pids)
        elif in_user_namespace():
            descendants.kill(self.pid, descendants.everyone)
        self.signal(signal.SIGKILL)

    def client_gone(self) -> None:
        """Do what is to be done when nobody waits for the process any more."""
        if not self.detach:
            self.kill()

    def error(self) -> dict[str, Any] | None:
        """Return why the program was not executed, or None; waits until that is known."""
        if self.status_fd < 0:
            return None
        data = b""
        while chunk := os.read(self.status_fd, 65536):
            if self._hand_on is not None and chunk.startswith(listener.WORD):
                self._hand_on(chunk, self.pidfd, self.pid)
                os.write(self.status_fd, b"0")
            else:
                data += chunk
        os.close(self.status_fd)
        self.status_fd = -1
        found: dict[str, Any] | None = jsontext.loads(data) if data else None
        return found

    def wait(self) -> dict[str, Any]:
        """Reap the process, which has ended; return ``code``, ``signal``, ``timed_out``.

        Of a process that never executed its program, ``error`` instead, if it was not told yet.
        """
        error = self.error()
        result = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        os.close(self.pidfd)
        if self.group is not None and self.group.remove():
            self.group = None
        exited = result is not None and result.si_code == os.CLD_EXITED
        status = result.si_status if result is not None else None
        fields: dict[str, Any] = {
            "code": status if exited else None,
            "signal": None if exited else status,
            "timed_out": self._timed_out,
        }
        return fields | ({} if error is None else {"error": error})


class _Entry:
    """What the child needs, looked up before it is made: on the host, as the caller."""

    __slots__ = (
        "console_fd", "detach", "first_fd", "in_userns", "join_fds", "landlock", "orphan",
        "parent_fd", "rlimits", "spec", "status_fd", "stdio", "target", "waits",
    )  # fmt: skip

    def __init__(
        self, spec: oci.Process, target: Target, stdio: list[int], status_fd: int,
        group: Cgroup | None,
    ) -> None:  # fmt: skip
        self.spec = spec
        self.target = target
        self.stdio = stdio
        self.status_fd = status_fd
        self.detach = self.orphan = False
        self.landlock: oci.Landlock | None = None
        self.console_fd, self.first_fd = -1, 3
        self.in_userns = False
        # For the filter's listener to be handed on.
        self.waits = False
        self.join_fds = [] if target.cgroup.dir_fd() is not None else [*target.cgroup.fds()]
        if group is not None and group.dir_fd() is None:
            self.join_fds += group.fds()
        self.rlimits = _inherited_rlimits(spec, target.pid)
        self.parent_fd = os.pidfd_open(os.getpid())


def _own_group(target: Target) -> Cgroup | None:
    """Return new cgroups for one execution below the container's, enough to kill it whole."""
    group = target.group
    if group is None or not group.directories:
        return None
    return group.child(f"exec-{os.getpid()}-{next(_serial)}")


def _inherited_rlimits(spec: oci.Process, pid: int) -> list[tuple[int, tuple[int, int]]]:
    """Return the container's limits that its configuration does not name, as far as we may.

    They came from whoever started it; those of whoever starts this process may be others.
    """
    named = {getattr(resource, limit["type"]) for limit in spec.get("rlimits", ())}
    found = []
    # Not prlimit(2), which wants CAP_SYS_RESOURCE for a process of another user.
    with open(f"/proc/{pid}/limits") as file:
        lines = file.read().splitlines()[1:]
    # One line for each number, in their order (fs/proc/base.c, lnames).
    for kind, line in enumerate(lines):
        theirs = _limit(line[26:46]), _limit(line[47:67])
        if kind not in named and theirs != resource.getrlimit(kind):
            found.append((kind, theirs))
    return found


def _capped(limits: tuple[int, int], most: int) -> tuple[int, int]:
    """Return soft and hard limit, no higher than our own hard one: raising that is privileged."""
    infinity = resource.RLIM_INFINITY
    soft, hard = (
        most if most != infinity and (limit == infinity or limit > most) else limit
        for limit in limits
    )
    return soft, hard


def _limit(text: str) -> int:
    text = text.strip()
    return resource.RLIM_INFINITY if text == "unlimited" else int(text)


def _clone(entry: _Entry, target: Target, group: Cgroup | None) -> tuple[int, int]:
    """Make the child, in the container's PID namespace and on v2 in its cgroup."""
    dir_fd = target.cgroup.dir_fd() if group is None else group.dir_fd()
    if os.geteuid() != 0 and target.namespaces & process.CLONE_NEWUSER:
        # Only in the container's user namespace is there the power to enter others. There is no
        # way back, and no need for one: this process has nothing else to do.
        wanted = process.CLONE_NEWUSER | process.CLONE_NEWPID
        process.setns(target.pidfd, target.namespaces & wanted)
        entry.in_userns = True
        return _fork(entry, dir_fd)
    if not target.namespaces & process.CLONE_NEWPID:
        return _fork(entry, dir_fd)
    if in_user_namespace():
        return _clone_between(entry, target, dir_fd)
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Only children of this process change; it goes back at once.
        process.setns(target.pidfd, process.CLONE_NEWPID)
        try:
            return _fork(entry, dir_fd)
        finally:
            process.setns(own, process.CLONE_NEWPID)
    finally:
        os.close(own)


def _clone_between(entry: _Entry, target: Target, dir_fd: int | None) -> tuple[int, int]:
    """Make the child by way of a process that changes the PID namespace of its children for good.

    In a user namespace nobody can go back to the host's PID namespace.
    """
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    try:
        pid, pidfd = process.clone3(process.CLONE_CLEAR_SIGHAND)
        if pid == 0:
            _between(entry, target, dir_fd, write_fd)
    finally:
        os.close(write_fd)
    with open(read_fd, "rb") as born:
        number = born.read()
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)
    if not number.startswith(b"+"):
        raise SyscallError("setns", int(number or ESRCH))
    return int(number), os.pidfd_open(int(number))


def _between(entry: _Entry, target: Target, dir_fd: int | None, write_fd: int) -> None:
    try:
        process.setns(target.pidfd, process.CLONE_NEWPID)
        pid, _ = process.clone3(process.CLONE_CLEAR_SIGHAND | process.CLONE_PARENT, dir_fd)
        if pid == 0:
            os.close(write_fd)
            _run(entry)
        os.write(write_fd, b"+%d" % pid)
    except SyscallError as error:
        os.write(write_fd, b"%d" % (error.errno or ESRCH))
    finally:
        os._exit(0)


def _fork(entry: _Entry, dir_fd: int | None) -> tuple[int, int]:
    pid, pidfd = process.clone3(process.CLONE_CLEAR_SIGHAND, dir_fd)
    if pid == 0:
        _run(entry)
    return pid, pidfd


def _run(entry: _Entry) -> None:
    """Enter the container and become the program. Never returns."""
    phase = "leave"
    failure: BaseException | None
    try:
        _leave_client(entry)
        phase = "join"
        _join(entry)
        phase = "orphan"
        if entry.orphan:
            _become_orphan()
        if entry.console_fd >= 0:
            phase = "terminal"
            root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            terminal.open_in(root_fd, entry.console_fd, entry.spec, console=False)
            os.close(root_fd)
        phase = "process"
        calls = Calls()
        program.finish(
            calls, entry.spec, entry.target.seccomp, keep_fd=entry.status_fd,
            first_fd=entry.first_fd, pdeathsig=not entry.detach, make_cwd=False,
            confine=entry.landlock,
        )  # fmt: skip
        failure = calls.run(lambda name, fd: _after(entry, name, fd))
    except BaseException as error:  # whatever it is must reach the caller
        failure = error
    try:
        if failure is not None:
            told = jsontext.dumps(explain(failure, phase), default=str)
            os.write(entry.status_fd, told.encode())
    finally:  # or this copy of the launcher would go on as one
        os._exit(FAILED_EXIT_CODE)


def _after(entry: _Entry, name: str, result: int) -> None:
    if name == "seccomp" and result > 0 and entry.waits:
        listener.tell(entry.status_fd, result)


def _leave_client(entry: _Entry) -> None:
    """Take the standard descriptors; keep nothing else of the process that is our parent."""
    # Before anything of the container can see this process (security.md F3, A6).
    process.prctl(process.PR_SET_DUMPABLE, 0)
    if not entry.detach:
        process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
        if select.select([entry.parent_fd], [], [], 0)[0]:
            os._exit(FAILED_EXIT_CODE)  # it died before we asked
    os.setsid()
    for target, fd in enumerate(entry.stdio):
        os.dup2(fd, target, inheritable=True)
    keep = {*entry.join_fds, entry.status_fd, entry.target.pidfd, entry.console_fd} - {-1}
    for first, last in itertools.pairwise([entry.first_fd - 1, *sorted(keep), 0x80000000]):
        process.close_range(first + 1, last - 1)
    try:
        process.new_session_keyring()
    except SyscallError:
        pass  # EDQUOT or ENOSYS: the default seccomp profile denies the keyctl family anyway


def _become_orphan() -> None:
    """Go on in a child whose parent ends: it belongs to the container's PID 1 then.

    The namespace cannot end while a process in it waits to be reaped by a parent outside
    (pid_namespaces(7)), and nobody outside waits for this one.
    """
    pid, _ = process.clone3(process.CLONE_CLEAR_SIGHAND)
    if pid:
        os._exit(0)
    os.setsid()


def _join(entry: _Entry) -> None:
    """Enter the cgroups, then every namespace that is not ours."""
    for fd in entry.join_fds:
        os.write(fd, b"0")
    value = entry.spec.get("oomScoreAdj")
    if value is not None:
        fd = os.open("/proc/thread-self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, str(value).encode())
        os.close(fd)
    for kind, limits in entry.rlimits:
        resource.setrlimit(kind, _capped(limits, resource.getrlimit(kind)[1]))
    final = entry.spec.get("execCPUAffinity", {}).get("final", "")
    attributes.set_affinity(final, "process.execCPUAffinity.final")
    namespaces = entry.target.namespaces & ~process.CLONE_NEWPID
    joined = process.CLONE_NEWUSER if entry.in_userns else 0
    process.setns(entry.target.pidfd, namespaces & ~joined)
    if namespaces & process.CLONE_NEWUSER:
        userns.become_root()
        process.prctl(process.PR_SET_DUMPABLE, 0)
