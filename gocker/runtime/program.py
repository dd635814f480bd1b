"""From a process inside a container to its program: identity, confinement, execve.

What the last steps need is looked up here, as root and inside the container; the steps
themselves are a list of system calls, made without the interpreter (`gocker.linux.calls`).
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # no enums: they take 3 ms
import os
import struct
from errno import ELOOP, ENOENT, ENOTDIR

from gocker.errors import CannotExecute, CommandNotFound, ContainerError, SyscallError
from gocker.linux import capability, process, seccomp
from gocker.linux.path import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, open_or_make, openat2
from gocker.runtime import attributes, landlock, users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker import oci
    from gocker.linux.calls import Calls

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def finish(
    calls: Calls, program: oci.Process, seccomp_program: tuple[bytes, int] | None, keep_fd: int,
    *, first_fd: int = 3, pdeathsig: bool = True, make_cwd: bool = True,
    linux: oci.Linux | None = None, held: int = -1, confine: oci.Landlock | None = None,
    keep_too: int = -1,
) -> None:  # fmt: skip
    """Add the calls that make a process the program: identity, confinement, execve.

    Shared by a container's first process and by exec, so both have the same confinement. What
    the calls need is looked up now, as root, inside the container.

    Args:
        calls: the list to append to.
        program: OCI's process.
        seccomp_program: compiled filter and flags, or None.
        keep_fd: one of the descriptors to close that stays open until execve, or -1.
        keep_too: another one.
        first_fd: the first descriptor that the program does not get.
        pdeathsig: whether the program dies with its parent.
        make_cwd: whether a missing working directory is made, as docker does at a start.
        linux: OCI's linux, for what it says of the process.
        held: capabilities that can be given, as bits; -1 if all that are asked for can be.
        confine: limits by landlock(7), or None.
    """
    root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    user = program.get("user", {})
    who = _identity(root_fd, user)
    environment = _environment(program.get("env", []), who.home)
    cwd = program["cwd"]
    if make_cwd:
        _make_cwd(root_fd, cwd, who)
    if program.get("terminal") and os.isatty(0):
        os.fchown(0, who.uid, -1)  # its group is the devpts's own, tty
    calls.add("umask", user.get("umask", 0o022), phase="process")
    attributes.add(calls, program, linux or {})
    no_new_privileges = program.get("noNewPrivileges", False)
    if confine is not None:
        landlock.add(calls, root_fd, confine)  # needs a capability that is about to go
    # Closed, not only marked: a working directory /proc/self/fd/N must not find one of them
    # outside the container (CVE-2024-21626). Before a filter, which may not allow it.
    first = first_fd
    for kept in sorted(fd for fd in (keep_fd, keep_too) if fd >= first_fd):
        if first < kept:
            calls.add("close_range", first, kept - 1, 0, phase="process")
        first = kept + 1
    calls.add("close_range", first, 0xFFFFFFFF, 0, phase="process")
    if seccomp_program is not None and not no_new_privileges:
        seccomp.add_install(calls, *seccomp_program)  # needs a capability that is about to go
    _add_identity(calls, who, program.get("capabilities", {}), held)
    if pdeathsig:  # the kernel clears it when credentials change (prctl(2))
        calls.add("prctl", process.PR_SET_PDEATHSIG, signal.SIGKILL, phase="process")
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
    if name.split() != name.split(" "):
        # Not taken apart in another way than it was put together: " 1" is no root with a group.
        raise ContainerError(f"user {name!r} has white space", phase="user")
    name, _, extra = name.partition(" ")
    return users.resolve(root_fd, name, extra.split())


def _environment(env: list[str], home: str) -> dict[str, str]:
    environment = {}
    for item in env:
        key, _, value = item.partition("=")
        environment[key] = value
    environment["HOME"] = environment.get("HOME") or home
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


def _add_identity(
    calls: Calls, who: users.Identity, capabilities: oci.Capabilities, held: int
) -> None:
    capability.add_drop_bounding(calls, capabilities)
    groups = calls.buffer(struct.pack(f"{len(who.groups)}I", *who.groups))
    names = ", ".join(map(str, who.groups))
    if who.groups or _may_set_groups():
        calls.add("setgroups", len(who.groups), groups, phase="user", path=names)
    calls.add("setresgid", who.gid, who.gid, who.gid, phase="user", path=str(who.gid))
    calls.add("setresuid", who.uid, who.uid, who.uid, phase="user", path=str(who.uid))
    capability.add_apply(calls, capabilities, held)


def _may_set_groups() -> bool:
    """Return whether anybody may in this user namespace.

    Not in one that a user without privileges made (user_namespaces(7)): its processes keep the
    groups of that user.
    """
    try:
        os.setgroups(os.getgroups())
    except PermissionError:
        return False
    except OSError:
        pass  # one of them is not mapped; it would be allowed
    return True


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
            program=name,
            hint=None if "/" in name else "see the image, PATH and the spelling of command",
            phase="execve",
        )
    return found


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
