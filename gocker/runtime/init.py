"""The container's first process: a flat list of steps from clone3 to execve.

The process is a copy of the launcher. Between pivot_root and execve nothing is imported and
no library or name service is consulted: the file system is the image's by then
(CVE-2019-14271). It leaves by execve or ``os._exit`` only; an error goes whole to the launcher.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import select
import signal
import socket
import struct
from errno import EACCES, ELOOP, ENOENT, ENOEXEC, ENOTDIR

from gocker.cgroup.group import Cgroup
from gocker.errors import (
    CannotExecute,
    CommandNotFound,
    ContainerError,
    GockerError,
    InternalError,
    SyscallError,
)
from gocker.linux import capability, mount, process, seccomp
from gocker.linux.path import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, open_or_make, openat2
from gocker.runtime import reaper, rootfs, users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker import oci

FAILED_EXIT_CODE = 255
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1  # include/uapi/linux/sockios.h, if.h


class Setup:
    """What the launcher hands to the first process, all of it made before clone3."""

    __slots__ = (
        "cgroup_mounts", "config", "files", "grants", "init", "join_fds", "launcher_pidfd",
        "layer_fd", "namespaces",
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


def _cgroup(setup: Setup) -> None:
    Cgroup.join(setup.join_fds)


def _namespaces(setup: Setup) -> None:
    """Leave the launcher's namespaces.

    After joining the cgroups: the root of a cgroup namespace is the cgroup that the process is
    in at that moment (cgroup_namespaces(7)).
    """
    process.unshare(setup.namespaces & ~process.CLONE_NEWPID)


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
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack_from("H", fcntl.ioctl(sock, _SIOCGIFFLAGS, request), 16)[0]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


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


def _rlimits(setup: Setup) -> None:
    for limit in setup.config["process"].get("rlimits", ()):
        kind: int = getattr(resource, limit["type"])
        _, hard = resource.getrlimit(kind)
        wanted = (_rlim(limit["soft"]), _rlim(limit["hard"]))
        try:
            resource.setrlimit(kind, wanted)
        except (ValueError, OSError) as error:
            raise ContainerError(
                f"{limit['type']} {wanted} is above this host's hard limit {hard}",
                hint="lower it, or start gocker with CAP_SYS_RESOURCE",
                phase="rlimits",
            ) from error


def _rlim(value: int) -> int:
    return resource.RLIM_INFINITY if value >= 1 << 63 else value


SET_UP = (
    _session, _cgroup, _namespaces, _hostname, _loopback, _root, _mounts, _files, _devices, _sysctl,
    _oom_score_adj, _protected_paths, _pivot_root, _rlimits,
)  # fmt: skip


def run(setup: Setup) -> None:
    """Build the container around this process and execute its program. Never returns."""
    phase = "start"
    try:
        _die_with_launcher(setup.launcher_pidfd)
        for step in SET_UP:
            phase = step.__name__.lstrip("_")
            step(setup)
        phase = "process"
        if setup.init:
            reaper.fork_program(setup.seccomp)
        execute(setup.config["process"], setup.seccomp, setup.launcher_pidfd)
    except BaseException as error:  # whatever it is must reach the launcher
        report(setup.status_fd, phase, error)
    os._exit(FAILED_EXIT_CODE)


def report(status_fd: int, phase: str, error: BaseException) -> None:
    """Write `error` with its phase to the launcher as JSON. Imports nothing."""
    if not isinstance(error, ContainerError):
        if isinstance(error, OSError) and not isinstance(error, GockerError):
            cause: GockerError = SyscallError(phase, error.errno or 0, error.filename)
        elif isinstance(error, GockerError):
            cause = error
        else:
            cause = InternalError(f"{type(error).__name__}: {error}")
        error = ContainerError(f"{phase}: {cause.message}", hint=cause.hint, phase=phase)
        error.__cause__ = cause
    os.write(status_fd, json.dumps(error.to_wire(), default=str).encode())


def _die_with_launcher(launcher_pidfd: int) -> None:
    """Ask for SIGKILL at the launcher's death (prctl(2)), and notice if it is dead already."""
    process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
    if select.select([launcher_pidfd], [], [], 0)[0]:
        os._exit(FAILED_EXIT_CODE)


def execute(
    program: oci.Process, seccomp_program: tuple[bytes, int] | None, launcher_pidfd: int
) -> None:
    """Become the program: identity, capabilities, no_new_privs, seccomp, execve.

    Shared by a container's first process and by exec, so both have the same confinement.
    """
    root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    who = _identity(root_fd, program.get("user", {}))
    environment = _environment(program.get("env", []), who.home)
    os.umask(program.get("user", {}).get("umask", 0o022))
    _make_cwd(root_fd, program["cwd"], who)
    no_new_privileges = program.get("noNewPrivileges", False)
    if seccomp_program is not None and not no_new_privileges:
        seccomp.install(*seccomp_program)  # needs a capability that is about to go
    _become(who, program.get("capabilities", {}))
    # Cleared by the kernel when credentials change (prctl(2)), so asked for again.
    _die_with_launcher(launcher_pidfd)
    _enter_cwd(program["cwd"])
    process.close_on_exec_from(3)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if no_new_privileges:
        process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
        if seccomp_program is not None:
            seccomp.install(*seccomp_program)
    _execve(root_fd, program["args"], environment)


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


def _become(who: users.Identity, capabilities: oci.Capabilities) -> None:
    capability.drop_bounding(capabilities)
    os.setgroups(who.groups)
    os.setresgid(who.gid, who.gid, who.gid)
    os.setresuid(who.uid, who.uid, who.uid)
    capability.apply(capabilities)
    if os.getresuid() != (who.uid,) * 3 or sorted(os.getgroups()) != who.groups:
        raise ContainerError("the kernel did not take the user and groups asked for", phase="user")


def _enter_cwd(cwd: str) -> None:
    try:
        os.chdir(cwd)
        inside = os.getcwd().startswith("/")
    except OSError as error:
        raise CannotExecute(
            f"cannot enter the working directory {cwd!r}: {error.strerror}",
            hint="make it readable for the user, or set another working_dir",
            phase="cwd",
        ) from error
    if not inside:  # "(unreachable)": outside the root (CVE-2024-21626)
        raise CannotExecute(f"the working directory {cwd!r} is outside the container", phase="cwd")


def _execve(root_fd: int, args: list[str], environment: dict[str, str]) -> None:
    """Look the program up in PATH as execvp(3) does, and execute it."""
    name = args[0]
    if "/" in name:
        candidates = [name]
    else:
        path = environment.get("PATH", DEFAULT_PATH)
        candidates = [f"{directory or '.'}/{name}" for directory in path.split(":")]
    refused: OSError | None = None
    for candidate in candidates:
        try:
            _refuse_magic_links(root_fd, candidate)
            os.execve(candidate, args, environment)  # noqa: S606  # this is what a runtime is for
        except OSError as error:
            refused = refused or _meaningful(error, candidate, name)
            if refused is not None and refused.errno != EACCES:
                break
    if refused is None:
        raise CommandNotFound(
            f"no program {name!r} in the container",
            hint=None if "/" in name else "see the image, PATH and the spelling of command",
            phase="execve",
        )
    reason = _EXECVE_REASONS.get(refused.errno or 0, refused.strerror)
    raise CannotExecute(f"cannot execute {name!r}: {reason}", phase="execve") from None


_EXECVE_REASONS = {
    ENOENT: "the interpreter it names is missing",
    ELOOP: "it, or the interpreter it names, is a link into /proc, or a loop of links",
    ENOEXEC: "it is neither a program for this machine nor a script that starts with #!",
}


def _meaningful(error: OSError, candidate: str, name: str) -> OSError | None:
    """Return the error unless it only says that nothing is there."""
    if error.errno not in (ENOENT, ENOTDIR):
        return error
    return error if "/" in name and os.access(candidate, os.F_OK) else None


def _refuse_magic_links(root_fd: int, candidate: str) -> None:
    """Refuse /proc/self/exe as program or ``#!`` interpreter: it still is the host's Python."""
    fd = _open_program(root_fd, candidate, os.O_PATH)
    os.close(fd)
    try:
        fd = _open_program(root_fd, candidate, os.O_RDONLY | os.O_NONBLOCK)
    except SyscallError:
        return  # not readable for this user: execve decides
    try:
        head = os.read(fd, 256)
    except OSError:
        return  # a directory: execve says so
    finally:
        os.close(fd)
    if head.startswith(b"#!"):
        words = head[2:].split(b"\n", 1)[0].split()
        if words:
            os.close(_open_program(root_fd, os.fsdecode(words[0]), os.O_PATH))


def _open_program(root_fd: int, path: str, flags: int) -> int:
    if path.startswith("/"):
        return openat2(root_fd, path, flags, RESOLVE_NO_MAGICLINKS | RESOLVE_IN_ROOT)
    return openat2(mount.AT_FDCWD, path, flags, RESOLVE_NO_MAGICLINKS)
