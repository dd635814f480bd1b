"""The container's first process: a flat list of steps from clone3 to execve.

The process is a copy of the launcher. Between pivot_root and execve nothing is imported and
no library or name service is consulted: the file system is the image's by then
(CVE-2019-14271). It leaves by execve or ``os._exit`` only; an error goes whole to the launcher.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # no enums: they take 3 ms
import _socket as socket
import fcntl
import os
import select
import struct

from gocker import jsontext
from gocker.errors import ConfigError, SyscallError
from gocker.linux import capability, mount, process, procfs
from gocker.linux.calls import Calls
from gocker.nested import in_user_namespace
from gocker.runtime import (
    attributes,
    devices,
    listener,
    mounts,
    namespaces,
    program,
    reaper,
    rootfs,
    sources,
    sysctls,
    terminal,
    userns,
)
from gocker.runtime.failure import FAILED_EXIT_CODE, explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gocker import oci
    from gocker.runtime.mounts import CgroupMount
    from gocker.runtime.namespaces import Namespaces
    from gocker.runtime.userns import User

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1  # include/uapi/linux/sockios.h, if.h


class Setup:
    """What the launcher hands to the first process, all of it made before clone3."""

    __slots__ = (
        "answer_fd", "cgroup_mounts", "config", "console_fd", "files", "first_fd", "fresh",
        "grants", "host_mount_fd", "init", "inside", "join_fds", "landlock", "launcher_pidfd",
        "namespaces", "new_keyring", "pdeathsig", "phase", "ready", "root_fd", "root_target",
        "rootless", "scratch", "seccomp", "spaces", "status_fd", "stdio", "trees", "user",
    )  # fmt: skip

    def __init__(  # one record of the facts, built in one place
        self, *, config: oci.Config, root_fd: int, scratch: str, spaces: Namespaces,
        user: User | None, join_fds: list[int], cgroup_mounts: list[tuple[str, str]],
        stdio: list[int], launcher_pidfd: int, seccomp: tuple[bytes, int] | None, init: bool,
        files: list[oci.File], grants: list[oci.File], landlock: oci.Landlock | None = None,
    ) -> None:  # fmt: skip
        self.config = config
        # A detached mount to be the root, or -1 for the directory root.path.
        self.root_fd = root_fd
        self.scratch = scratch
        self.spaces = spaces
        self.namespaces = spaces.new
        self.user = user
        # Whoever starts it has no power outside of its user namespace.
        self.rootless = user is not None and os.geteuid() != 0
        in_user_namespace()  # known from now on, whatever the first process enters
        self.join_fds = join_fds
        self.cgroup_mounts: list[CgroupMount] = [*cgroup_mounts]
        self.stdio = stdio
        self.status_fd = -1
        # Where the answer comes from if not through `status_fd`.
        self.answer_fd = -1
        self.launcher_pidfd = launcher_pidfd
        self.seccomp = seccomp
        self.init = init
        self.files = files
        self.grants = grants
        self.landlock = landlock
        self.trees: dict[int, int] = {}
        self.fresh: frozenset[str] = frozenset()
        # The host's mount namespace, where the launcher has one of its own.
        self.host_mount_fd = -1
        self.phase = ""
        # What differs for a container that nobody watches over: see runtime/oci.
        self.inside: tuple[Callable[[Setup], None], ...] = INSIDE
        self.ready: Callable[[Calls], None] | None = None
        self.root_target = rootfs.ROOTFS
        self.first_fd = 3
        self.pdeathsig = True
        self.new_keyring = True
        # A socket to send a terminal's master through, or -1.
        self.console_fd = -1


def _session(setup: Setup) -> None:
    """Take the standard descriptors and leave the launcher's session, keyring and umask."""
    os.setsid()
    os.umask(0)
    for target, fd in enumerate(setup.stdio):
        os.dup2(fd, target, inheritable=True)
    if not setup.new_keyring:
        return
    try:
        process.new_session_keyring()
    except SyscallError:
        pass  # EDQUOT or ENOSYS: the default seccomp profile denies the keyctl family anyway


_NOT_NOW = process.CLONE_NEWPID | process.CLONE_NEWCGROUP | process.CLONE_NEWUSER


def _namespaces(setup: Setup) -> None:
    """Leave the launcher's namespaces, but for the cgroup namespace: see `join`."""
    process.unshare(setup.namespaces & ~_NOT_NOW)
    if setup.namespaces & process.CLONE_NEWTIME:
        # The program enters it by execve (Linux 6.1), init's child by fork.
        namespaces.write_offsets(setup.config["linux"].get("timeOffsets", {}))


def _hostname(setup: Setup) -> None:
    config = setup.config
    if setup.spaces.entered & process.CLONE_NEWUTS == 0:
        _refuse_names(config)
    if config.get("hostname"):
        process.sethostname(config["hostname"])
    if config.get("domainname"):
        process.setdomainname(config["domainname"])


def _refuse_names(config: oci.Config) -> None:
    for key in ("hostname", "domainname"):
        if config.get(key):
            raise ConfigError(
                f"{key} {config[key]!r} would change the host: the container has no uts "
                "namespace of its own",
                phase="hostname",
            )


def _loopback(setup: Setup) -> None:
    if setup.namespaces & process.CLONE_NEWNET:
        bring_up_loopback()


def bring_up_loopback() -> None:
    """Bring ``lo`` up in the network namespace that this process is in (netdevice(7))."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack_from("H", fcntl.ioctl(sock.fileno(), _SIOCGIFFLAGS, request), 16)[0]
        fcntl.ioctl(sock.fileno(), _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
    finally:
        # Not left to the collector: that may run in the launcher, whose descriptor of this
        # number is another one.
        sock.close()


def _root(setup: Setup) -> None:
    rootfs.mount_root(setup.root_fd, setup.root_target)


def _mounts(setup: Setup) -> None:
    setup.fresh = mounts.mount_all(
        setup.root_fd, setup.config, setup.cgroup_mounts, setup.trees,
        attributes.check_label(setup.config.get("linux", {})),
    )  # fmt: skip


def _files(setup: Setup) -> None:
    readonly = setup.config["root"].get("readonly", False)
    rootfs.mount_files(setup.root_fd, setup.files, setup.grants, readonly=readonly)


def _devices(setup: Setup) -> None:
    if setup.rootless:
        devices.bind(setup.root_fd, setup.config)
    else:
        devices.make(setup.root_fd, setup.config, nodes=setup.user is None)


def _terminal(setup: Setup) -> None:
    if setup.console_fd >= 0 and setup.config["process"].get("terminal"):
        process_ = setup.config["process"]
        # With `init: true` the program leads a session of its own, which is then to have it.
        terminal.open_in(setup.root_fd, setup.console_fd, process_, console=True,
                         control=not setup.init)  # fmt: skip


def _sysctl(setup: Setup) -> None:
    wanted = setup.config.get("linux", {}).get("sysctl") or {}
    sysctls.check(wanted, setup.spaces)
    rootfs.write_sysctls(wanted)


def _oom_score_adj(setup: Setup) -> None:
    """Set it while the host's procfs is in sight (proc(5))."""
    value = setup.config["process"].get("oomScoreAdj")
    if value is not None:
        procfs.write("thread-self/oom_score_adj", str(value))


def _protected_paths(setup: Setup) -> None:
    linux = setup.config.get("linux", {})
    masked, readonly = linux.get("maskedPaths", []), linux.get("readonlyPaths", [])
    scratch = setup.scratch
    if setup.user is not None or process.CLONE_NEWNS in setup.spaces.paths:
        # Its path leads through directories of the host's root alone, or is not here.
        scratch = f"/proc/self/fd/{os.open('.', os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)}"
    rootfs.protect(setup.root_fd, scratch, masked, readonly, setup.fresh)


def _pivot_root(setup: Setup) -> None:
    if setup.config["root"].get("readonly"):
        rootfs.make_cwd(setup.root_fd, setup.config["process"])
        mount.mount_setattr(setup.root_fd, "", attr_set=mount.MOUNT_ATTR_RDONLY)
    rootfs.pivot(setup.root_fd, rootfs.propagation(setup.config.get("linux", {})))


def _sources(setup: Setup) -> None:
    setup.trees = sources.open_all(
        setup.config, setup.user, setup.host_mount_fd, rootless=setup.rootless
    )
    if setup.root_fd < 0:
        setup.root_fd = sources.clone_root(setup.config["root"]["path"])
    if process.CLONE_NEWNS in setup.spaces.paths:
        _carry_cgroups(setup)


def _carry_cgroups(setup: Setup) -> None:
    """Make mounts of the cgroups' directories: their paths are not those of other namespaces."""
    setup.cgroup_mounts = [
        (name, mount.open_tree(mount.AT_FDCWD, str(path), mount.OPEN_TREE_CLONE))
        for name, path in setup.cgroup_mounts
    ]


def _join(setup: Setup) -> None:
    """Enter the namespaces of others, the user namespace last: it takes the power to."""
    if setup.spaces.paths:
        namespaces.join(setup.spaces)
    if setup.user is not None:
        attributes.raise_rlimits(setup.config["process"].get("rlimits") or ())
        if process.CLONE_NEWNET in setup.spaces.paths:
            sources.add_sysfs(setup.config, setup.trees)
        userns.enter(setup.user)


def _own_mounts(_: Setup) -> None:
    process.unshare(process.CLONE_NEWNS)


# As a process of the launcher's in all but its PID; then as the container's own.
OUTSIDE = (_oom_score_adj, _sources, _join)
# Who has no power outside of a user namespace enters it before it mounts anything.
ROOTLESS = (_oom_score_adj, _join, _own_mounts, _sources)
INSIDE = (
    _session, _namespaces, _hostname, _loopback, _root, _mounts, _files, _devices, _terminal,
    _sysctl,
    _protected_paths, _pivot_root,
)  # fmt: skip


def run(setup: Setup, prepare: Callable[[Setup], Calls]) -> None:
    """Build the container around this process and execute its program. Never returns.

    For a process with memory of its own (`clone3`).
    """
    setup.phase = "start"
    try:
        calls = prepare(setup)
        if setup.init:
            _join_now(setup)
            reaper.fork_program(setup.seccomp)
        if setup.ready is not None:
            setup.ready(calls)
        failure: BaseException | None = calls.run(lambda name, fd: _after(setup, name, fd))
    except BaseException as error:  # whatever it is must reach the launcher
        failure = error
    try:
        if failure is not None:
            report(setup, failure)
    finally:  # or this copy of the launcher would go on as one
        os._exit(FAILED_EXIT_CODE)


def _after(setup: Setup, name: str, result: int) -> None:
    """Hand on the listener of a filter that has one, before any call asks for it."""
    if name == "seccomp" and result > 0:
        listener.tell(setup.status_fd, result, setup.answer_fd)


def report(setup: Setup, failure: BaseException) -> None:
    """Tell the launcher by the status pipe."""
    os.write(setup.status_fd, jsontext.dumps(explain(failure, setup.phase), default=str).encode())


def prepare(setup: Setup) -> Calls:
    """Build the container around this process; return the calls that make it the program.

    Runs between clone3 and execve, perhaps in memory that is shared with the launcher: it
    leaves nothing behind that the launcher could trip over.
    """
    leave(setup)
    return build(setup)


def leave(setup: Setup) -> None:
    """Do what needs the launcher's namespaces, then enter those that are there already."""
    die_with_launcher(setup.launcher_pidfd)
    _do(ROOTLESS if setup.rootless else OUTSIDE, setup)


def build(setup: Setup) -> Calls:
    """Do the rest, as a process that `leave` was done for."""
    if setup.user is not None:
        die_with_launcher(setup.launcher_pidfd)  # cleared with the credentials
    _do(setup.inside, setup)
    setup.phase = "process"
    calls = Calls()
    if not setup.init:
        join(calls, setup)
    program.finish(
        calls, setup.config["process"], setup.seccomp, keep_fd=setup.status_fd,
        first_fd=setup.first_fd, pdeathsig=setup.pdeathsig, linux=setup.config.get("linux"),
        keep_too=setup.answer_fd,
        held=capability.HELD if setup.user is None else -1,
        confine=setup.landlock,
    )  # fmt: skip
    return calls


def _do(steps: tuple[Callable[[Setup], None], ...], setup: Setup) -> None:
    for step in steps:
        setup.phase = step.__name__.lstrip("_")
        step(setup)


def _join_now(setup: Setup) -> None:
    """Enter the cgroups before PID 1 and the program become two processes."""
    calls = Calls()
    join(calls, setup)
    failure = calls.run()
    if failure is not None:
        raise failure


def join(calls: Calls, setup: Setup) -> None:
    """Add the calls that enter the cgroups and make them the root of a cgroup namespace.

    As late as can be: whatever the CPU limits are, they do not slow the set-up, in which the
    launcher may be waiting. The root of a cgroup namespace is the cgroup that the process is in
    at that moment (cgroup_namespaces(7)).
    """
    zero = calls.buffer(b"0")
    for fd in setup.join_fds:
        calls.add("write", fd, zero, 1, phase="cgroup", path="tasks")
    if setup.namespaces & process.CLONE_NEWCGROUP:
        calls.add("unshare", process.CLONE_NEWCGROUP, phase="namespaces")


def die_with_launcher(launcher_pidfd: int) -> None:
    """Ask for SIGKILL at the launcher's death (prctl(2)), and notice if it is dead already."""
    process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
    if select.select([launcher_pidfd], [], [], 0)[0]:
        os._exit(FAILED_EXIT_CODE)
