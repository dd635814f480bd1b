"""Facts about this host, as JSON values: all that a plan sees of it but its images and devices.

`gocker.cli.host` makes the plan's `Host` of nothing else, and the plan cache's key holds them
all: what is added here is in both.
"""

from __future__ import annotations

import os
import resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    from gocker.state.roots import Roots

    class Facts(TypedDict):
        """`capabilities`: the bounding set as a bit mask. `hard_limits`: -1 is RLIM_INFINITY."""

        volumes_root: str
        hard_limits: dict[str, int]
        capabilities: int
        ipv6: bool
        cpus: int
        memory: int
        resolv_conf: str
        nodename: str
        allow_privileged: bool
        groups: int


def facts(roots: Roots) -> Facts:
    """Return the facts, read now."""
    return {
        "volumes_root": os.path.join(roots.data, "volumes"),
        "hard_limits": {
            name: resource.getrlimit(getattr(resource, name))[1]
            for name in dir(resource)
            if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"
        },
        "capabilities": _bounding_set(),
        "ipv6": os.path.exists("/proc/sys/net/ipv6"),
        "cpus": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "resolv_conf": read("/etc/resolv.conf"),
        "nodename": os.uname()[1],
        "groups": _groups(),
        "allow_privileged": os.environ.get("GOCKER_ALLOW_PRIVILEGED", "") not in ("", "0"),
    }


def _groups() -> int:
    """Return how many groups from 0 up this process's user namespace has.

    Source: user_namespaces(7), "User and group ID mappings". One line less than 2^32 is all.
    """
    rows = [
        [int(word) for word in line.split()] for line in read("/proc/self/gid_map").splitlines()
    ]
    end = 0
    for first, _, count in sorted(rows):
        if first != end:
            break
        end += count
    return 1 << 32 if end >= (1 << 32) - 1 or not rows else end


def _bounding_set() -> int:
    """Return what no process started from here can exceed (proc(5))."""
    with open("/proc/self/status", "rb") as status:
        return int(status.read().partition(b"\nCapBnd:")[2].split(maxsplit=1)[0], 16)


def read(path: str) -> str:
    """Return a file's text; empty if it cannot be read."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
