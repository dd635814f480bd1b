"""User namespaces: mappings, and the change into one.

A user namespace gets its mappings from outside, so it is made around a process that does nothing
but wait (`make`), kept by a descriptor, and joined by the container's first process. Once in it,
that process has no power outside of it: everything that needs the host's root comes before.
Source: user_namespaces(7); config-linux.md "User namespace mappings".
"""

from __future__ import annotations

import os
from errno import EINVAL

from gocker.errors import ConfigError, ContainerError, SyscallError
from gocker.linux import process, procfs
from gocker.runtime import idmaps, namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gocker import oci
    from gocker.runtime.namespaces import Namespaces

_MAX_ID = 0xFFFFFFFE


def check(
    name: str, mappings: Sequence[oci.IDMapping], *, for_processes: bool = True
) -> None:  # fmt: skip
    """Refuse mappings that the kernel would refuse, with the reason that it does not give.

    `for_processes`: whether they are a container's, which needs a root, or a mount's.

    Raises:
        ConfigError: phase namespaces.
    """
    ends: list[tuple[str, int, int]] = []
    for item in mappings:
        for key in ("containerID", "hostID"):
            first, last = item[key], item[key] + item["size"] - 1
            if item["size"] < 1 or first < 0 or last > _MAX_ID:
                raise _error(f"{name}: {key} {first}, size {item['size']}: out of range")
            if any(key == k and first <= end and start <= last for k, start, end in ends):
                raise _error(f"{name}: {key} {first}, size {item['size']}: overlaps another one")
            ends.append((key, first, last))
    if for_processes and host_id(mappings, 0) is None:
        raise _error(f"{name}: container id 0 is not mapped", hint="map 0: it owns the root")


def _error(text: str, hint: str | None = None) -> ConfigError:
    return ConfigError(f"linux.{text}", hint=hint, phase="namespaces")


def host_id(mappings: Sequence[oci.IDMapping], container_id: int) -> int | None:
    """Return what a container's id is outside, or None if it is not mapped."""
    for item in mappings:
        offset = container_id - item["containerID"]
        if 0 <= offset < item["size"]:
            return item["hostID"] + offset
    return None


def make(
    uids: Sequence[oci.IDMapping], gids: Sequence[oci.IDMapping], *, for_processes: bool = True
) -> int:  # fmt: skip
    """Return a descriptor of a new user namespace, which lives as long as it.

    `for_processes`: as `check` has it.

    Raises:
        ConfigError: for mappings that cannot be.
        ContainerError: phase namespaces; the kernel refuses them, or the namespace.
    """
    check("uidMappings", uids, for_processes=for_processes)
    check("gidMappings", gids, for_processes=for_processes)
    try:
        with _Waiting(process.CLONE_NEWUSER) as pid:
            idmaps.write(pid, uids, gids)
            return procfs.open_namespace(f"{pid}/ns/user")
    except OSError as error:
        raise ContainerError(
            f"cannot make a user namespace: {error.filename or 'clone3'}: {error.strerror}",
            hint="see sysctl user.max_user_namespaces, and that the ids are mapped for gocker",
            phase="namespaces",
        ) from error


class _Waiting:
    """A child that does nothing but wait, in a new user namespace or in that of `join_fd`."""

    def __init__(self, flags: int, join_fd: int = -1) -> None:
        self._flags = flags
        self._join_fd = join_fd

    def __enter__(self) -> int:
        """Return its PID, as procfs has it, once it is where it should be.

        Raises:
            SyscallError: it cannot be.
        """
        wait_fd, self._go_fd = os.pipe2(os.O_CLOEXEC)
        there_fd, self._there_fd = os.pipe2(os.O_CLOEXEC)
        try:
            pid, self._pidfd = process.clone3(self._flags)
            if pid == 0:
                self._wait(wait_fd)
        except BaseException:
            os.close(self._go_fd)
            os.close(there_fd)
            raise
        finally:
            os.close(wait_fd)
            os.close(self._there_fd)
        with open(there_fd, "rb", buffering=0) as there:
            answer = there.read(16)
        number = int(answer or 0)
        if number <= 0:
            self.__exit__()
            raise SyscallError("setns", -number)
        return number

    def __exit__(self, *_: object) -> None:
        os.close(self._go_fd)
        os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        os.close(self._pidfd)

    def _wait(self, wait_fd: int) -> None:
        number = 0
        try:
            os.close(self._go_fd)
            number = int(os.readlink("self", dir_fd=procfs.root()))
            if self._join_fd >= 0:
                process.setns(self._join_fd, process.CLONE_NEWUSER)
        except SyscallError as error:
            number = -(error.errno or EINVAL)
        finally:
            os.write(self._there_fd, str(number).encode())
            os.read(wait_fd, 1)  # ends with the last copy of the other end
            os._exit(0)


class User:
    """A user namespace to enter: its descriptor, its uid and gid mappings."""

    __slots__ = ("fd", "gids", "uids")

    def __init__(
        self, fd: int, uids: Sequence[oci.IDMapping], gids: Sequence[oci.IDMapping]
    ) -> None:
        self.fd = fd
        self.uids = uids
        self.gids = gids

    @property
    def ids(self) -> tuple[Sequence[oci.IDMapping], Sequence[oci.IDMapping]]:
        """Both mappings."""
        return self.uids, self.gids

    def host_uid(self, uid: int) -> int:
        """Return a uid of it as it is outside; 0 stands for one that is not mapped."""
        return host_id(self.uids, uid) or 0

    def host_gid(self, gid: int) -> int:
        """Return a gid of it as it is outside; 0 stands for one that is not mapped."""
        return host_id(self.gids, gid) or 0

    @property
    def key(self) -> tuple[tuple[int, int, int], ...]:
        """What is equal for user namespaces with equal mappings."""
        uids, gids = (
            tuple((i["containerID"], i["hostID"], i["size"]) for i in ids) for ids in self.ids
        )
        return (*uids, (-1, -1, -1), *gids)

    def close(self) -> None:
        """Close the descriptor; the namespace stays as long as a process is in it."""
        os.close(self.fd)


def of(linux: oci.Linux, spaces: Namespaces) -> User | None:
    """Return the user namespace that a configuration asks for, made or joined.

    Raises:
        ConfigError: mappings that cannot be, or without a namespace, or other than those of the
            namespace to join.
        ContainerError: phase namespaces.
    """
    uids, gids = linux.get("uidMappings") or [], linux.get("gidMappings") or []
    path = spaces.paths.get(process.CLONE_NEWUSER)
    if path is not None:
        return _joined(path, uids, gids)
    if spaces.new & process.CLONE_NEWUSER:
        return User(make(uids, gids), uids, gids)
    if uids or gids:
        raise _error("uidMappings and gidMappings need a user namespace in linux.namespaces")
    return None


def _joined(path: str, uids: Sequence[oci.IDMapping], gids: Sequence[oci.IDMapping]) -> User:
    fd = namespaces.open_path(path)
    try:
        found = _read(fd, path)
    except BaseException:
        os.close(fd)
        raise
    for name, wanted, actual in (("uid", uids, found[0]), ("gid", gids, found[1])):
        if wanted and list(wanted) != actual:
            os.close(fd)
            raise _error(f"{name}Mappings are not those of the user namespace {path!r}")
    return User(fd, *found)


def _read(fd: int, path: str) -> tuple[list[oci.IDMapping], list[oci.IDMapping]]:
    """Return the mappings of a user namespace, which only a process in it shows."""
    try:
        with _Waiting(0, fd) as pid:
            return _parse(procfs.read(f"{pid}/uid_map")), _parse(procfs.read(f"{pid}/gid_map"))
    except SyscallError as error:
        raise ContainerError(
            f"linux.namespaces: cannot join {path!r} as the user namespace: {error.strerror}",
            phase="namespaces",
        ) from error


def _parse(data: bytes) -> list[oci.IDMapping]:
    rows = [[int(word) for word in line.split()] for line in data.splitlines()]
    return [{"containerID": first, "hostID": host, "size": size} for first, host, size in rows]


def enter(user: User) -> None:
    """Enter the user namespace as its root: files are then made and found as its root's.

    Raises:
        SyscallError: it cannot be joined.
        OSError: 0 is not mapped in it.
    """
    process.setns(user.fd, process.CLONE_NEWUSER)
    become_root()


def become_root() -> None:
    """Be root of the user namespace just joined: files are then made and found as its root.

    Raises:
        OSError: 0 is not mapped in it.
    """
    try:
        os.setgroups(())
    except PermissionError:
        pass  # it was made with setgroups(2) denied: user_namespaces(7)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
