"""``create``: from a bundle to a process that waits for ``start``, or to nothing at all."""

from __future__ import annotations

import _socket as socket
import fcntl
import os
import time

from gocker.errors import ContainerError, GockerError
from gocker.runtime import clone, init, seccomp, userns
from gocker.runtime.namespaces import Namespaces
from gocker.runtime.oci import bundle, cgroups, child, direct, hooks, schema, state
from gocker.runtime.oci.container import Container, send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from gocker.cgroup.group import Cgroup
    from gocker.runtime.oci.child import Conversation
    from gocker.runtime.oci.log import Log
    from gocker.runtime.userns import User

KILL_TIMEOUT_S = 10.0
_SIGKILL = 9


class Request:
    """What the command line asks for."""

    __slots__ = ("at_once", "bundle", "config_name", "console_fd", "id", "log", "new_keyring",
                 "pid_file", "preserve_fds", "root")  # fmt: skip

    def __init__(self, root: str, container_id: str, log: Log) -> None:
        self.root = root
        self.id = container_id
        self.log = log
        self.bundle = ""
        self.config_name = "config.json"
        # Where the terminal goes, if there is one.
        self.console_fd = -1
        self.pid_file: str | None = None
        self.preserve_fds = 0
        self.new_keyring = True
        # Whether it is started next, by us.
        self.at_once = False


class Created:
    """A container that was created: locked; `pid` and `pidfd` are of its first process.

    `executed`: its program runs already.
    """

    __slots__ = ("config", "container", "executed", "pid", "pidfd")

    def __init__(self, container: Container, config: dict[str, Any], pid: int, pidfd: int) -> None:
        self.container = container
        self.config = config
        self.pid = pid
        self.pidfd = pidfd
        self.executed = False


def create(request: Request, config: dict[str, Any]) -> Created:
    """Create a container.

    Raises:
        GockerError: it could not be; nothing is left then.
    """
    reset_affinity()
    program = None
    if "seccomp" in config["linux"]:
        program = seccomp.program(config["linux"]["seccomp"])
    directory = state.Directory.make(request.root, request.id)
    request.log.debug(f"state of container {request.id} is in {directory.path}")
    try:
        manager, record = cgroups.plan(
            request.id, config["linux"].get("cgroupsPath"), config["linux"]["resources"]
        )
        container = Container(directory)
        container.record = {
            "ociVersion": bundle.VERSION, "id": request.id, "bundle": request.bundle,
            "annotations": config.get("annotations", {}), "rootfs": config["root"]["path"],
            "created": _now(), "owner": os.geteuid(), "program": state.own_program(),
            "cgroup": record,
        }  # fmt: skip
        # The intent, before the first thing that the kernel would keep.
        directory.write(state.STATE, container.record)
        directory.write(state.CONFIG, config)
        os.mkdir(state.SCRATCH, 0o711, dir_fd=directory.fd)
        # The manager is never closed: that would remove parents that are wanted for longer.
        _check_free(container)
        resources = config["linux"]["resources"] if record["directories"] else {}
        group = manager.create(record["name"], resources)
        return _Creation(request, config, container, group, program).run()
    except BaseException as error:
        # A hook that failed ends a container that was there (runtime.md "Lifecycle", steps 3 to
        # 7); any other failure is as if nothing had been attempted.
        phase = error.context.get("phase") if isinstance(error, GockerError) else None
        poststop = config["hooks"].get("poststop", ()) if phase in schema.HOOKS else ()
        made = Container(directory)
        if isinstance(error, CgroupInUse):
            made.record["cgroup"] = None
        undo(made, poststop, request.log)
        directory.close()
        raise


def _check_free(container: Container) -> None:
    """Refuse a cgroup that is there already and in use.

    Raises:
        ContainerError: somebody is in it, or would freeze in it.
    """
    group = container.cgroup()
    pids = [] if group is None else group.pids()
    problem = f"is not empty: {len(pids)} process(es) found" if pids else ""
    if not pids and container.frozen():
        problem = "unexpectedly frozen"
    if problem:
        raise CgroupInUse(
            f"container's cgroup {problem}", hint="choose another linux.cgroupsPath",
            phase="cgroup",
        )  # fmt: skip


def reset_affinity() -> None:
    """Let what we start run on every CPU that its cpuset has, whatever our caller was bound to."""
    os.sched_setaffinity(0, range(os.cpu_count() or 1))


class CgroupInUse(ContainerError):  # noqa: N818  # what it is, like its neighbours
    """The cgroup is another's: it must stay as it is."""


def undo(container: Container, poststop: Iterable[dict[str, Any]], log: Log) -> None:
    """Remove what there is of a container, then call its hooks."""
    group = container.cgroup()
    pidfd = -1
    try:
        pidfd = container.pidfd()
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except (GockerError, ChildProcessError):
        pass
    if pidfd >= 0:
        os.close(pidfd)
    if group is not None:
        # What can be removed is empty: most are, as all processes end with the first one.
        if not group.remove():
            _kill(container)
        cgroups.remove_parents(container.record["cgroup"])
    # "The poststop hooks MUST be called after the container is deleted."
    final = container.oci_state(state.STOPPED)
    container.directory.remove()
    entries = list(poststop)
    if entries:
        for error in hooks.warn_all("poststop", entries, final, final["bundle"] or "/"):
            log.warning(error.message)


def _kill(container: Container) -> None:
    """End all processes of a container's cgroups, and remove these.

    Raises:
        ContainerError: one does not die.
    """
    group = container.cgroup()
    if group is None:
        return
    group.kill()
    if not group.wait_empty(KILL_TIMEOUT_S) or not group.remove():
        raise ContainerError(
            f"container {container.id}: processes in its cgroup cannot be killed",
            hint="one waits in the kernel (state D in ps): delete it again later",
        )


def _now() -> str:
    seconds = time.time()
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1e9):09d}Z"


class _Creation:
    """The making of one container, from its cgroups to the moment it waits for ``start``."""

    def __init__(
        self, request: Request, config: dict[str, Any], container: Container, group: Cgroup,
        program: tuple[bytes, int] | None,
    ) -> None:  # fmt: skip
        self._request = request
        self._config = config
        self._container = container
        self._group = group
        self._program = program

    def run(self) -> Created:
        spaces = Namespaces(self._config["linux"])
        user = userns.of(self._config["linux"], spaces)
        try:
            return self._in(spaces, user)
        finally:
            if user is not None:
                user.close()

    def _in(self, spaces: Namespaces, user: User | None) -> Created:
        setup = self._setup(spaces, user)
        if self._request.at_once and direct.fits(self._config, setup):
            return self._directly(setup)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            # Above what the program gets.
            setup.status_fd = fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, setup.first_fd)
            theirs.close()
            pid, pidfd = self._clone(setup, ours.fileno())
            try:
                self._converse(child.Conversation(ours.fileno()), pid)
            except BaseException:
                end(pidfd)
                raise
        finally:
            ours.close()
        return Created(self._container, self._config, pid, pidfd)

    def _directly(self, setup: init.Setup) -> Created:
        container = self._container
        own_pidns = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        os.chdir(container.directory.path)
        try:
            with clone.InPidNamespace(setup, own_pidns):
                pid, pidfd = direct.Direct(container, setup).spawn(self._group.dir_fd())
        finally:
            os.close(own_pidns)
            os.close(setup.launcher_pidfd)
            self._group.close_fds()
        made = Created(container, self._config, pid, pidfd)
        made.executed = True
        try:
            if self._request.pid_file:
                write_pid_file(self._request.pid_file, pid)
        except BaseException:
            end(pidfd)
            raise
        return made

    def _clone(self, setup: init.Setup, ours: int) -> tuple[int, int]:
        """Make the first process. It ends with us as long as it is being made."""
        directory = self._container.directory
        fifos = directory.make_fifo(state.FIFO), directory.make_fifo(state.RESULT)
        child.Child(
            setup, talk=child.Conversation(setup.status_fd), go_fd=fifos[0], result_fd=fifos[1],
            state=self._container.oci_state(state.CREATING),
            # With the directory's descriptor goes the lock.
            foreign=[ours, directory.fd],
        )  # fmt: skip
        own_pidns = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        # Where the first process mounts its scratch directory, in its own mount namespace.
        os.chdir(directory.path)
        try:
            with clone.InPidNamespace(setup, own_pidns):
                return clone.fork(setup, self._group.dir_fd())
        finally:
            for fd in (own_pidns, *fifos, setup.launcher_pidfd, setup.status_fd):
                os.close(fd)
            self._group.close_fds()

    def _setup(self, spaces: Namespaces, user: User | None) -> init.Setup:
        request, config = self._request, self._config
        setup = init.Setup(
            config=config,  # type: ignore[arg-type]  # checked against a larger schema
            root_fd=-1,
            scratch=f"{self._container.directory.path}/{state.SCRATCH}",
            spaces=spaces,
            user=user,
            join_fds=self._group.fds(),
            cgroup_mounts=self._group.mounts(),
            stdio=[0, 1, 2],
            launcher_pidfd=os.pidfd_open(os.getpid()),
            seccomp=self._program,
            init=False,
            files=[],
            grants=[],
        )
        setup.console_fd = request.console_fd
        setup.new_keyring = request.new_keyring
        setup.pdeathsig = False
        setup.first_fd = 3 + request.preserve_fds
        setup.root_target = config["root"]["path"]
        return setup

    def _converse(self, talk: Conversation, pid: int) -> None:
        """Do what the first process asks for, until it is ready."""
        while True:
            message = child.answer(talk.receive())
            self._request.log.debug(f"first process {pid}: {message['at']}")
            if message["at"] == "ready":
                self._keep(pid)
                talk.send({})
                child.answer(talk.receive())
                return
            try:
                self._hooks(pid)
            except ContainerError as error:
                talk.send({"error": error.to_wire()})
                raise
            talk.send({})

    def _hooks(self, pid: int) -> None:
        # They come after step 2 of the life cycle: the container is `created` (runtime.md "State").
        now = self._container.oci_state(state.CREATED) | {"pid": pid}
        for name in ("prestart", "createRuntime"):
            entries = self._config["hooks"].get(name, ())
            hooks.run_all(name, entries, now, self._request.bundle)

    def _keep(self, pid: int) -> None:
        """Record the process: from now on the container exists without us."""
        record = self._container.record
        record["pid"] = pid
        record["start_time"] = state.start_time(pid)
        self._container.directory.write(state.STATE, record)
        if self._request.pid_file:
            write_pid_file(self._request.pid_file, pid)


def end(pidfd: int) -> None:
    """Kill a child of ours and wait for its end; its descriptor is closed."""
    send_signal(pidfd, _SIGKILL)
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)


def write_pid_file(path: str, pid: int) -> None:
    """Write a PID, whole or not at all.

    Raises:
        ContainerError: phase pid-file.
    """
    directory, name = os.path.split(path)
    new = os.path.join(directory, f".{name}.{os.getpid()}")
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, str(pid).encode())
        finally:
            os.close(fd)
        os.rename(new, path)
    except OSError as error:
        raise ContainerError(
            f"cannot write the pid file {path!r}: {error.strerror}", phase="pid-file"
        ) from error
