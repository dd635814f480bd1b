"""Writing the mappings of a user namespace, with privileges or without.

A user without them may map nothing but its own uid and gid (user_namespaces(7)); ranges that
/etc/subuid and /etc/subgid give it are written by newuidmap(1) and newgidmap(1), which are
setuid root and look there.
"""

from __future__ import annotations

import os

from gocker.errors import ContainerError
from gocker.linux import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from gocker import oci


def write(pid: int, uids: Sequence[oci.IDMapping], gids: Sequence[oci.IDMapping]) -> None:
    """Write both mappings of a process's user namespace.

    Raises:
        SyscallError: the kernel refuses them.
        ContainerError: phase namespaces: the helpers do, or are not there.
    """
    for kind, mappings in (("uid", uids), ("gid", gids)):
        own = os.geteuid() if kind == "uid" else os.getegid()
        if os.geteuid() == 0:
            _write(pid, kind, mappings)
        elif [(item["hostID"], item["size"]) for item in mappings] == [(own, 1)]:
            if kind == "gid":
                # Or a user could leave a group that is to deny it something.
                procfs.write(f"{pid}/setgroups", "deny")
            _write(pid, kind, mappings)
        else:
            _help(pid, kind, mappings)


def _write(pid: int, kind: str, mappings: Sequence[oci.IDMapping]) -> None:
    text = "".join(f"{i['containerID']} {i['hostID']} {i['size']}\n" for i in mappings)
    procfs.write(f"{pid}/{kind}_map", text)


def _help(pid: int, kind: str, mappings: Sequence[oci.IDMapping]) -> None:
    program = f"new{kind}map"
    numbers = [str(i[key]) for i in mappings for key in ("containerID", "hostID", "size")]
    try:
        helper = os.posix_spawnp(program, [program, str(pid), *numbers], os.environ)
    except OSError as error:
        raise _error(kind, f"{program}: {(error.strerror or '').lower()}") from error
    _, status = os.waitpid(helper, 0)
    if status:
        raise _error(kind, f"{program} refused {' '.join(numbers)}")


def _error(kind: str, text: str) -> ContainerError:
    return ContainerError(
        f"cannot map {kind}s as a user without privileges: {text}",
        hint=f"install the package uidmap, and give this user a range in /etc/sub{kind}; or map "
        f"one id, the user's own {kind}",
        phase="namespaces",
    )
