"""The way of an ordinary user into a user namespace, before the command proper starts.

The command's interpreter is replaced by this one, which enters a user namespace in which the user
is root, and a mount namespace, and starts the command anew in them. All commands of a user that
live at the same time share the user namespace: only a process of the same one can enter a
container, or end it. Each is registered by a file with its PID that it holds locked; the lock
and not the PID tells whether it lives.

Source: user_namespaces(7), newuidmap(1), subuid(5).
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import sys
from errno import ENOSPC, EPERM, EUSERS

from gocker.errors import GockerError, HostError, SyscallError, unforeseen
from gocker.linux import mount, process
from gocker.nested import program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_LOCK = "lock"
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_NEW = _FLAGS | os.O_CREAT | os.O_EXCL
# How often a living entry may name a process that is gone: a command that goes on in the
# background writes its own number there while its parent still waits.
_TRIES = 1000


def main() -> NoReturn:
    """Enter the namespaces and execute a command in them.

    Arguments: the directory of registrations, an interpreter, its arguments. The command learns
    the outcome by the interpreter's option ``-X gocker_rootless``, a JSON object: ``uid``, and
    ``fd``, the lock to hold, with its ``path``, or ``error``.
    """
    directory, interpreter, *arguments = sys.argv[1:]
    uid = os.geteuid()
    outcome: dict[str, object] = {"uid": uid}
    try:
        fd = enter(directory)
        os.set_inheritable(fd, True)
        outcome |= {"fd": fd, "path": f"{directory}/{os.getpid()}"}
    except GockerError as error:
        outcome["error"] = error.to_wire()
    except OSError as error:
        outcome["error"] = unforeseen(error).to_wire()
    option = f"gocker_rootless={json.dumps(outcome)}"
    os.execv(interpreter, [interpreter, "-X", option, *arguments])  # noqa: S606  # our own


def enter(directory: str) -> int:
    """Enter the user's namespace or make it; return the descriptor whose lock registers us.

    Raises:
        HostError: this host lets no ordinary user make one; the hint is the line that mends it.
    """
    at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    lock = os.open(_LOCK, _FLAGS | os.O_CREAT, 0o600, dir_fd=at)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Every entry is looked at, as the dead ones are to be removed.
        joined = [_join(at, name) for name in os.listdir(at) if name != _LOCK]
        if not any(joined):
            _make()
        process.unshare(process.CLONE_NEWNS)
        _check_power()
        return _register(at)
    finally:
        os.close(lock)
        os.close(at)


def _register(at: int) -> int:
    name = str(os.getpid())
    fd = os.open(name, _NEW, 0o600, dir_fd=at)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.write(fd, b"%-20d" % os.getpid())
    return fd


_joined = False


def _join(at: int, name: str) -> bool:
    """Enter the namespace of an entry's process if it lives; remove the entry if it does not."""
    global _joined  # noqa: PLW0603  # once is enough, yet all dead entries are to be removed
    fd = os.open(name, _FLAGS, dir_fd=at)
    try:
        for _ in range(_TRIES):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                os.unlink(name, dir_fd=at)
                return False
            if _joined or _enter_namespace_of(os.pread(fd, 20, 0), fd):
                _joined = True
                return True
            os.sched_yield()
    finally:
        os.close(fd)
    return False


def _enter_namespace_of(pid: bytes, fd: int) -> bool:
    """Join a living command's user namespace; False if the number is not its process's."""
    if not pid.strip().isdigit():
        return False
    try:
        namespace = os.open(f"/proc/{int(pid)}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        # Still held: the process that was looked at is the one that holds it, or its parent.
        process.setns(namespace, process.CLONE_NEWUSER)
        return True
    finally:
        os.close(namespace)
    return False


def _make() -> None:
    """Make the user namespace: its root is the user, its other ids the subordinate ones."""
    user = pwd.getpwuid(os.geteuid()).pw_name if _has_entry() else str(os.geteuid())
    ranges = [
        subordinate(file, user, os.geteuid()) for file in ("/etc/subuid", "/etc/subgid")
    ]  # fmt: skip
    programs = [program("newuidmap"), program("newgidmap")]
    if not all(ranges) or not all(programs):
        _unshare()
        _write_single()
        return
    ids = (os.geteuid(), os.getegid())
    commands = [
        [path, str(os.getpid()), *mapping(own, found)]
        for path, own, found in zip(programs, ids, ranges, strict=True)
    ]  # fmt: skip
    wait_fd, go_fd = os.pipe2(os.O_CLOEXEC)
    said_fd, say_fd = os.pipe2(os.O_CLOEXEC)
    helper = os.fork()
    if helper == 0:
        os.close(go_fd)
        _map(commands, wait_fd, say_fd)
    os.close(say_fd)
    os.close(wait_fd)
    try:
        _unshare()
        os.write(go_fd, b"1")
    finally:
        os.close(go_fd)
        said = _read_all(said_fd)
        _, status = os.waitpid(helper, 0)
    if status:
        raise HostError(
            f"cannot map the subordinate ids of {user!r}: {said}",
            hint="see that newuidmap and newgidmap are set-user-ID root (apt-get install "
            "--reinstall uidmap), and /etc/subuid, /etc/subgid",
        )


def _has_entry() -> bool:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return True


def _read_all(fd: int) -> str:
    with open(fd, "rb") as file:
        return file.read().decode("utf-8", "replace").strip()


def _map(commands: list[list[str]], wait_fd: int, say_fd: int) -> NoReturn:
    """In a child that stays outside: write the mappings of its parent. Never returns."""
    code = 1
    try:
        if os.read(wait_fd, 1):  # else it has no namespace
            code = 0
            for command in commands:
                actions = [(os.POSIX_SPAWN_DUP2, say_fd, fd) for fd in (1, 2)]
                pid = os.posix_spawn(command[0], command, {}, file_actions=actions)
                code = code or os.waitpid(pid, 0)[1] != 0
    finally:
        os._exit(int(code))


def _unshare() -> None:
    try:
        process.unshare(process.CLONE_NEWUSER)
    except SyscallError as error:
        raise HostError(
            f"an ordinary user cannot make a user namespace here: {error.strerror}",
            hint=_remedy(error.errno or 0),
        ) from error


def _remedy(number: int) -> str:
    """Return the line that mends a refused user namespace, from the settings that refuse it."""
    if _setting("kernel/unprivileged_userns_clone") == "0":  # Debian's and Arch's own
        return "as root: sysctl -w kernel.unprivileged_userns_clone=1"
    if _setting("user/max_user_namespaces") == "0" or number in (ENOSPC, EUSERS):
        return "as root: sysctl -w user.max_user_namespaces=15000"
    if number == EPERM:
        return (
            "a container's seccomp filter or a chroot is in the way: "
            "docker run --security-opt seccomp=unconfined …"
        )
    return "a kernel with CONFIG_USER_NS"


def _check_power() -> None:
    """See whether root of the namespace may mount; cut it off the host's mounts by that.

    AppArmor may let a user make a namespace and take all power in it away (Ubuntu 23.10).
    """
    try:
        mount.mount(None, "/", None, mount.MS_SLAVE | mount.MS_REC)
    except SyscallError as error:
        hint = "see the kernel's log (dmesg) for a security module that denies it"
        if _setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
            hint = "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
        raise HostError(
            f"root of a user namespace may not mount anything here: {error.strerror}", hint=hint
        ) from error


def _setting(name: str) -> str:
    try:
        with open(f"/proc/sys/{name}") as file:
            return file.read().strip()
    except OSError:
        return ""


def _write_single() -> None:
    """Map the user's own ids alone: there are no subordinate ones."""
    uid, gid = _ids_before
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


_ids_before = (os.geteuid(), os.getegid())


def subordinate(file: str, user: str, uid: int) -> list[tuple[int, int]]:
    """Return a user's ranges (first, count) of /etc/subuid or /etc/subgid; none without one.

    Both are looked up by the user's name or uid. Source: subuid(5).
    """
    found = []
    try:
        with open(file) as lines:
            for line in lines:
                name, _, numbers = line.strip().partition(":")
                first, _, count = numbers.partition(":")
                if name in (user, str(uid)) and first.isdigit() and count.isdigit() and int(count):
                    found.append((int(first), int(count)))
    except OSError:
        pass  # no such file: no such ids
    return found


def mapping(own: int, ranges: list[tuple[int, int]]) -> list[str]:
    """Return the arguments of newuidmap(1): 0 is the user, all else subordinate."""
    words, inside = ["0", str(own), "1"], 1
    for first, count in ranges:
        words += [str(inside), str(first), str(count)]
        inside += count
    return words
