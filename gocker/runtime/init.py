"""The container's first process: a flat list of steps from clone3 to execve.

The process is a copy of the launcher. Between pivot_root and execve nothing is imported and
no library or name service is consulted: the file system is the image's by then
(CVE-2019-14271). It leaves by execve or ``os._exit`` only; an error goes whole to the launcher.
"""

from __future__ import annotations

import _socket as socket
import fcntl
import json
import os
import resource
import select
import signal
import struct
from errno import ELOOP, ENOENT, ENOEXEC, ENOTDIR

from gocker.errors import (
    CannotExecute,
    CommandNotFound,
    ContainerError,
    GockerError,
    InternalError,
    SyscallError,
)
from gocker.linux import capability, mount, process, seccomp
from gocker.linux.calls import Calls
from gocker.linux.path import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, open_or_make, openat2
from gocker.runtime import reaper, rootfs, users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from gocker import oci

FAILED_EXIT_CODE = 255
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_INFINITY = (1 << 64) - 1
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1  # include/uapi/linux/sockios.h, if.h


class Setup:
    """What the launcher hands to the first process, all of it made before clone3."""

    __slots__ = (
        "cgroup_mounts", "config", "files", "grants", "init", "join_fds", "launcher_pidfd",
        "layer_fd", "namespaces", "phase",
        "root_fd", "scratch", "seccomp", "status_fd", "stdio",
    )  # fmt: skip

    def __init__(  # one record of the facts, built in one place
        self, *, config: oci.Config, layer_fd: int, scratch: str, namespaces: int,
        join_fds: list[int], cgroup_mounts: list[tuple[str, str]], stdio: list[int],
        status_fd: int, launcher_pidfd: int, seccomp: tuple[bytes, int] | None, init: bool,
        files: list[oci.File], grants: list[oci.File],
    ) -> None:  # fmt: skip
        self.config = config
        self.layer_fd = layer_fd
        self.scratch = scratch
        self.namespaces = namespaces
        self.join_fds = join_fds
        self.cgroup_mounts = cgroup_mounts
        self.stdio = stdio
        self.status_fd = status_fd
        self.launcher_pidfd = launcher_pidfd
        self.seccomp = seccomp
        self.init = init
        self.files = files
        self.grants = grants
        self.root_fd = -1
        self.phase = ""


def _session(setup: Setup) -> None:
    """Take the standard descriptors and leave the launcher's session, keyring and umask."""
    os.setsid()
    os.umask(0)
    for target, fd in enumerate(setup.stdio):
        os.dup2(fd, target, inheritable=True)
    try:
        process.new_session_keyring()
    except SyscallError:
        pass  # EDQUOT or ENOSYS: the default seccomp profile denies the keyctl family anyway


def _namespaces(setup: Setup) -> None:
    """Leave the launcher's namespaces, but for the cgroup namespace: see `finish`."""
    process.unshare(setup.namespaces & ~(process.CLONE_NEWPID | process.CLONE_NEWCGROUP))


def _hostname(setup: Setup) -> None:
    config = setup.config
    if config.get("hostname"):
        process.sethostname(config["hostname"])
    if config.get("domainname"):
        process.setdomainname(config["domainname"])


def _loopback(setup: Setup) -> None:
    """Bring ``lo`` up in a new network namespace (netdevice(7))."""
    if not setup.namespaces & process.CLONE_NEWNET:
        return
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    request = struct.pack("16sH14x", b"lo", 0)
    flags = struct.unpack_from("H", fcntl.ioctl(sock.fileno(), _SIOCGIFFLAGS, request), 16)[0]
    fcntl.ioctl(sock.fileno(), _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
    sock.close()


def _root(setup: Setup) -> None:
    setup.root_fd = rootfs.mount_root(setup.config, setup.layer_fd)


def _mounts(setup: Setup) -> None:
    rootfs.mount_all(setup.root_fd, setup.config, setup.cgroup_mounts)


def _files(setup: Setup) -> None:
    readonly = setup.config["root"].get("readonly", False)
    rootfs.mount_files(setup.root_fd, setup.files, setup.grants, readonly=readonly)


def _devices(setup: Setup) -> None:
    rootfs.make_devices(setup.root_fd, setup.config.get("linux", {}).get("devices", []))


def _sysctl(setup: Setup) -> None:
    rootfs.write_sysctls(setup.root_fd, setup.config.get("linux", {}).get("sysctl", {}))


def _oom_score_adj(setup: Setup) -> None:
    """Set it while the host's procfs is in sight (proc(5))."""
    value = setup.config["process"].get("oomScoreAdj")
    if value is not None:
        fd = os.open("/proc/thread-self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, str(value).encode())
        os.close(fd)


def _protected_paths(setup: Setup) -> None:
    linux = setup.config.get("linux", {})
    masked, readonly = linux.get("maskedPaths", []), linux.get("readonlyPaths", [])
    rootfs.protect(setup.root_fd, setup.scratch, masked, readonly)


def _pivot_root(setup: Setup) -> None:
    if setup.config["root"].get("readonly"):
        mount.mount_setattr(setup.root_fd, "", attr_set=mount.MOUNT_ATTR_RDONLY)
    rootfs.pivot(setup.root_fd)


SET_UP = (
    _session, _namespaces, _hostname, _loopback, _root, _mounts, _files, _devices, _sysctl,
    _oom_score_adj, _protected_paths, _pivot_root,
)  # fmt: skip


def run(setup: Setup) -> None:
    """Build the container around this process and execute its program. Never returns.

    For a process with memory of its own (`clone3`).
    """
    setup.phase = "start"
    try:
        calls = prepare(setup)
        if setup.init:
            _join_now(setup)
            reaper.fork_program(setup.seccomp)
        failure: BaseException | None = calls.run()
    except BaseException as error:  # whatever it is must reach the launcher
        failure = error
    if failure is not None:
        report = explain(failure, setup.phase)
        os.write(setup.status_fd, json.dumps(report, default=str).encode())
    os._exit(FAILED_EXIT_CODE)


def prepare(setup: Setup) -> Calls:
    """Build the container around this process; return the calls that make it the program.

    Runs between clone3 and execve, perhaps in memory that is shared with the launcher: it
    leaves nothing behind that the launcher could trip over.
    """
    setup.phase = "start"
    _die_with_launcher(setup.launcher_pidfd)
    for step in SET_UP:
        setup.phase = step.__name__.lstrip("_")
        step(setup)
    setup.phase = "process"
    calls = Calls()
    if not setup.init:
        join(calls, setup)
    finish(calls, setup.config["process"], setup.seccomp, keep_fd=setup.status_fd)
    return calls


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


def explain(error: BaseException, phase: str) -> dict[str, Any]:
    """Return an error of `prepare` or of its calls as it goes over the wire. Imports nothing."""
    if isinstance(error, SyscallError) and "phase" in error.context:
        phase = error.context["phase"]
        if error.syscall == "execve":
            reason = _EXECVE_REASONS.get(error.errno or 0, error.strerror)
            error = CannotExecute(f"cannot execute {error.filename!r}: {reason}", phase=phase)
        elif error.syscall == "chdir":
            error = CannotExecute(
                f"cannot enter the working directory {error.filename!r}: {error.strerror}",
                hint="make it readable for the user, or set another working_dir",
                phase=phase,
            )
    if not isinstance(error, ContainerError):
        if isinstance(error, OSError) and not isinstance(error, GockerError):
            cause: GockerError = SyscallError(phase, error.errno or 0, error.filename)
        elif isinstance(error, GockerError):
            cause = error
        else:
            cause = InternalError(f"{type(error).__name__}: {error}")
        error = ContainerError(f"{phase}: {cause.message}", hint=cause.hint, phase=phase)
        error.__cause__ = cause
    return error.to_wire()


def _die_with_launcher(launcher_pidfd: int) -> None:
    """Ask for SIGKILL at the launcher's death (prctl(2)), and notice if it is dead already."""
    process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
    if select.select([launcher_pidfd], [], [], 0)[0]:
        os._exit(FAILED_EXIT_CODE)


def finish(
    calls: Calls, program: oci.Process, seccomp_program: tuple[bytes, int] | None, keep_fd: int
) -> None:
    """Add the calls that make a process the program: identity, confinement, execve.

    Shared by a container's first process and by exec, so both have the same confinement. What
    the calls need is looked up now, as root, inside the container.

    Args:
        calls: the list to append to.
        program: OCI's process.
        seccomp_program: compiled filter and flags, or None.
        keep_fd: the only descriptor but 0 to 2 that stays open until execve, or -1.
    """
    root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    user = program.get("user", {})
    who = _identity(root_fd, user)
    environment = _environment(program.get("env", []), who.home)
    cwd = program["cwd"]
    _make_cwd(root_fd, cwd, who)
    calls.add("umask", user.get("umask", 0o022), phase="process")
    _add_rlimits(calls, program.get("rlimits", ()))
    no_new_privileges = program.get("noNewPrivileges", False)
    if seccomp_program is not None and not no_new_privileges:
        seccomp.add_install(calls, *seccomp_program)  # needs a capability that is about to go
    _add_identity(calls, who, program.get("capabilities", {}))
    # The kernel clears it when credentials change (prctl(2)).
    calls.add("prctl", process.PR_SET_PDEATHSIG, signal.SIGKILL, phase="process")
    # Closed, not only marked: a working directory /proc/self/fd/N must not find one of them
    # outside the container (CVE-2024-21626).
    for first, last in ((3, keep_fd - 1), (max(keep_fd + 1, 3), 0xFFFFFFFF)):
        if first <= last:
            calls.add("close_range", first, last, 0, phase="process")
    calls.add("chdir", calls.buffer(os.fsencode(cwd)), phase="cwd", path=cwd)
    if no_new_privileges:
        calls.add("prctl", process.PR_SET_NO_NEW_PRIVS, 1, phase="process")
    paths = _program(root_fd, cwd, program["args"], environment)
    argv = calls.strings(os.fsencode(item) for item in program["args"])
    envp = calls.strings(os.fsencode(f"{name}={value}") for name, value in environment.items())
    if no_new_privileges and seccomp_program is not None:
        seccomp.add_install(calls, *seccomp_program)
    for path in paths:
        calls.add("execve", calls.buffer(os.fsencode(path)), argv, envp, phase="execve", path=path,
                  go_on=path is not paths[-1])  # fmt: skip
    os.close(root_fd)


def _identity(root_fd: int, user: oci.User) -> users.Identity:
    name = user.get("username")
    if name is None:
        name = f"{user.get('uid', 0)}"
        who = users.resolve(root_fd, name, [])
        gid = user.get("gid", 0)
        return users.Identity(who.uid, gid, sorted(user.get("additionalGids", ())), who.home)
    name, _, extra = name.partition(" ")
    return users.resolve(root_fd, name, extra.split())


def _environment(env: list[str], home: str) -> dict[str, str]:
    environment = {}
    for item in env:
        key, _, value = item.partition("=")
        environment[key] = value
    environment.setdefault("HOME", home)
    return environment


def _make_cwd(root_fd: int, cwd: str, who: users.Identity) -> None:
    """Make the working directory if it is missing, as docker does, owned by the user."""
    try:
        fd = openat2(root_fd, cwd, os.O_PATH | os.O_DIRECTORY, RESOLVE_IN_ROOT)
    except SyscallError as error:
        if error.errno != ENOENT:
            return  # entering it will say why
        fd = open_or_make(root_fd, cwd, directory=True)
        os.chown(f"/proc/self/fd/{fd}", who.uid, who.gid)
    os.close(fd)


def _add_rlimits(calls: Calls, rlimits: Iterable[oci.Rlimit]) -> None:
    for limit in rlimits:
        kind: int = getattr(resource, limit["type"])
        _, hard = resource.getrlimit(kind)
        if limit["hard"] > (hard if hard != resource.RLIM_INFINITY else _INFINITY):
            raise ContainerError(
                f"{limit['type']} {limit['hard']} is above this host's hard limit {hard}",
                hint="lower it, or start gocker with CAP_SYS_RESOURCE",
                phase="rlimits",
            )
        new = calls.buffer(struct.pack("QQ", limit["soft"], limit["hard"]))
        calls.add("prlimit64", 0, kind, new, 0, phase="rlimits", path=limit["type"])


def _add_identity(calls: Calls, who: users.Identity, capabilities: oci.Capabilities) -> None:
    capability.add_drop_bounding(calls, capabilities)
    groups = calls.buffer(struct.pack(f"{len(who.groups)}I", *who.groups))
    calls.add("setgroups", len(who.groups), groups, phase="user")
    calls.add("setresgid", who.gid, who.gid, who.gid, phase="user")
    calls.add("setresuid", who.uid, who.uid, who.uid, phase="user")
    capability.add_apply(calls, capabilities)


def _program(root_fd: int, cwd: str, args: list[str], environment: dict[str, str]) -> list[str]:
    """Return the paths to execute, one after the other, as execvp(3) looks them up."""
    name = args[0]
    if "/" in name:
        candidates = [name]
    else:
        path = environment.get("PATH", DEFAULT_PATH)
        candidates = [f"{directory or '.'}/{name}" for directory in path.split(":")]
    found = [
        candidate for candidate in candidates
        if _is_there(root_fd, candidate if candidate.startswith("/") else f"{cwd}/{candidate}")
    ]  # fmt: skip
    if not found:
        raise CommandNotFound(
            f"no program {name!r} in the container",
            hint=None if "/" in name else "see the image, PATH and the spelling of command",
            phase="execve",
        )
    return found


_EXECVE_REASONS = {
    ENOENT: "the interpreter it names is missing",
    ENOEXEC: "it is neither a program for this machine nor a script that starts with #!",
}


def _is_there(root_fd: int, candidate: str) -> bool:
    """Return whether a program is there; refuse one that is a link into /proc.

    /proc/self/exe still is the host's Python, as a program and as a ``#!`` interpreter.
    """
    try:
        fd = _open_program(root_fd, candidate, os.O_RDONLY | os.O_NONBLOCK)
    except SyscallError as error:
        if error.errno in (ENOENT, ENOTDIR):
            return False
        if error.errno == ELOOP:
            raise _loop(candidate) from None
        return True  # execve knows better
    try:
        head = os.read(fd, 256)
    except OSError:
        return True  # a directory: execve says so
    finally:
        os.close(fd)
    words = head[2:].split(b"\n", 1)[0].split() if head.startswith(b"#!") else []
    if words:
        try:
            os.close(_open_program(root_fd, os.fsdecode(words[0]), os.O_PATH))
        except SyscallError as error:
            if error.errno == ELOOP:
                raise _loop(candidate) from None
    return True


def _loop(candidate: str) -> CannotExecute:
    return CannotExecute(
        f"cannot execute {candidate!r}: it, or the interpreter it names, is a link into /proc, "
        "or a loop of links",
        phase="execve",
    )


def _open_program(root_fd: int, path: str, flags: int) -> int:
    return openat2(root_fd, path, flags, RESOLVE_NO_MAGICLINKS | RESOLVE_IN_ROOT)
