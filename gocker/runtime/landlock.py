"""Landlock for a container: a wall of the kernel's that the container cannot take down again.

What it adds to the other layers (docs/security.md): no mount, no remount and no umount, whatever
capabilities a process gets hold of; no ioctl(2) on a device outside of /dev. In a shared network
namespace no abstract socket of others, in a shared PID namespace no signal to others. Moving
files between directories stays allowed: without it half of all programs break (EXDEV within one
file system). Device nodes are no matter of Landlock's here: without CAP_MKNOD there are none, and
its EACCES would take the place of the EPERM that programs know.
"""

from __future__ import annotations

import os

from gocker.errors import ConfigError
from gocker.linux import landlock as ll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker import oci
    from gocker.linux.calls import Calls

# ABI -> what came with it. Without REFER, a ruleset denies every move between directories.
_ABI_FS, _ABI_TCP, _ABI_IOCTL, _ABI_SCOPE, _ABI_LOG = 2, 4, 5, 6, 7
_SCOPES = {"abstract": ll.SCOPE_ABSTRACT_UNIX_SOCKET, "signal": ll.SCOPE_SIGNAL}

# Asked once, before the first container.
ABI = ll.abi()


def add(calls: Calls, root_fd: int, wanted: oci.Landlock, abi: int | None = None) -> None:
    """Add the call that confines this process, which is in the container, as `wanted` says.

    Nothing is added where the kernel has no Landlock; what an older one does not know is left
    out. The descriptors that this opens are the caller's to close, by close_range(2).

    Raises:
        ConfigError: if TCP ports are to be limited and the kernel cannot.
    """
    abi = ABI if abi is None else abi
    ports = {
        ll.ACCESS_NET_BIND_TCP: wanted.get("tcp_bind"),
        ll.ACCESS_NET_CONNECT_TCP: wanted.get("tcp_connect"),
    }
    net = sum(access for access, allowed in ports.items() if allowed is not None)
    if net and abi < _ABI_TCP:
        raise ConfigError(
            f"x-gocker.landlock: TCP ports need Landlock ABI {_ABI_TCP}, this kernel has {abi}",
            hint="Linux 6.7 or later, with landlock in lsm=",
            phase="landlock",
        )
    if abi < _ABI_FS:
        return
    scoped = sum(_SCOPES[name] for name in wanted["scopes"]) if abi >= _ABI_SCOPE else 0
    ioctl = ll.ACCESS_FS_IOCTL_DEV if abi >= _ABI_IOCTL else 0
    ruleset = ll.create_ruleset(ll.ACCESS_FS_REFER | ioctl, net, scoped)
    ll.allow_beneath(ruleset, root_fd, ll.ACCESS_FS_REFER)
    if ioctl:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        ll.allow_beneath(ruleset, os.open("/dev", flags), ioctl)
    for access, allowed in ports.items():
        for port in allowed or ():
            ll.allow_port(ruleset, port, access)
    logged = wanted.get("log", False) and abi >= _ABI_LOG
    ll.add_restrict_self(calls, ruleset, ll.RESTRICT_SELF_LOG_NEW_EXEC_ON if logged else 0)
