"""OCI `linux.sysctl`: which kernel parameters belong to a namespace of the container's own.

All others would change the host. Source: namespaces(7), ipc_namespaces(7); config-linux.md
"Sysctl".
"""

from __future__ import annotations

import os

from gocker.errors import ConfigError
from gocker.linux import process, procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.runtime.namespaces import Namespaces

_IPC = frozenset((
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
    "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced", "kernel.msg_next_id",
    "kernel.sem_next_id", "kernel.shm_next_id", "kernel.auto_msgmni",
))  # fmt: skip
_KINDS = {
    process.CLONE_NEWIPC: ("ipc", "ipc"),
    process.CLONE_NEWNET: ("network", "net"),
    process.CLONE_NEWUTS: ("uts", "uts"),
    process.CLONE_NEWUSER: ("user", "user"),
}


def _flag(name: str) -> int:
    """Return which namespace a parameter belongs to, 0 for none."""
    if name.startswith("net."):
        return process.CLONE_NEWNET
    if name in _IPC or name.startswith("fs.mqueue."):
        return process.CLONE_NEWIPC
    if name == "kernel.domainname":
        return process.CLONE_NEWUTS
    return process.CLONE_NEWUSER if name.startswith("user.") else 0


def dotted(name: str) -> str:
    """Return a name with dots between its parts, whichever way it is written (sysctl(8)).

    The first separator decides: ``net/ipv4/conf/eth0.1/x`` has a dot in a part.
    """
    dot, slash = name.find("."), name.find("/")
    if slash >= 0 and (dot < 0 or slash < dot):
        return name.translate(str.maketrans("./", "/."))
    return name


def path(name: str) -> str:
    """Return the file of a parameter below /proc/sys."""
    return dotted(name).translate(str.maketrans("./", "/."))


def check(names: dict[str, str], spaces: Namespaces) -> None:
    """Refuse what is the host's.

    Raises:
        ConfigError: phase sysctl: naming the parameter, and the namespace that is missing.
    """
    for name in names:
        wanted = dotted(name)
        flag = _flag(wanted)
        if not flag or any(part in ("", ".", "..") for part in path(name).split("/")):
            hint = "use hostname" if wanted == "kernel.hostname" else None
            raise ConfigError(
                f"linux.sysctl: {name!r} belongs to no namespace", hint=hint, phase="sysctl"
            )
        if not spaces.new & flag and not _is_other(spaces.paths.get(flag), flag):
            kind = _KINDS[flag][0]
            raise ConfigError(
                f"linux.sysctl: {name!r} would change the host: the container has no "
                f"{kind} namespace of its own",
                hint=f"add {{type: {kind}}} to linux.namespaces",
                phase="sysctl",
            )


def _is_other(joined: str | None, flag: int) -> bool:
    """Return whether a namespace that is joined is not this process's own."""
    if joined is None:
        return False
    fd = procfs.open_namespace(f"thread-self/ns/{_KINDS[flag][1]}")
    try:
        own, other = os.fstat(fd), os.stat(joined)
        return (own.st_dev, own.st_ino) != (other.st_dev, other.st_ino)
    finally:
        os.close(fd)
