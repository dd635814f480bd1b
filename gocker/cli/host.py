"""Facts about this host that a plan needs."""

from __future__ import annotations

import os
import resource
from functools import cache

from gocker.image.resolve import resolve
from gocker.plan.container import Host
from gocker.plan.posture import ALL_CAPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gocker.image.resolve import RootFs
    from gocker.spec.load import Loaded
    from gocker.state.roots import Roots


def host(roots: Roots, loaded: Loaded) -> Host:
    """Return the facts for a loaded spec."""

    @cache
    def rootfs(reference: str) -> RootFs:
        return resolve(reference, roots, loaded.working_dir)

    return facts(roots, loaded.environment, rootfs)


def facts(roots: Roots, environ: Mapping[str, str], rootfs: Callable[[str], RootFs]) -> Host:
    """Return the facts about this host, read now."""
    return Host(
        rootfs=rootfs,
        volumes_root=os.path.join(roots.data, "volumes"),
        environ=environ,
        hard_limits={
            name: resource.getrlimit(getattr(resource, name))[1]
            for name in dir(resource)
            if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"
        },
        capabilities=_capabilities(),
        ipv6=os.path.exists("/proc/sys/net/ipv6"),
        cpus=len(os.sched_getaffinity(0)),
        resolv_conf=_read("/etc/resolv.conf"),
    )


def _capabilities() -> frozenset[str]:
    """Return the bounding set: what no process started from here can exceed (proc(5))."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("CapBnd:"))
    mask = int(line.split()[1], 16)
    return frozenset(name for number, name in enumerate(ALL_CAPS) if mask >> number & 1)


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
