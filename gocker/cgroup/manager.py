"""Choosing the driver and the parent of all containers' cgroups, once per process."""

from __future__ import annotations

import os

from gocker.cgroup import mounts, none
from gocker.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.cgroup.base import Manager

PARENT = "gocker"
_V1_HINT = (
    "x-gocker.limits: best-effort starts without them; or as root, for each controller: "
    "mkdir and chown a cgroup for the user, and start gocker in it"
)


def open_manager(
    layout: mounts.Layout | None = None, parent: str | None = None, name: str = PARENT
) -> Manager:
    """Return the manager of this host.

    Args:
        layout: where the hierarchies are; None reads /proc.
        parent: the cgroup below which containers are made, relative to each hierarchy's mount
            point (compose: cgroup_parent). None: `name` below this process's own cgroup, so
            that limits around the caller stay in force.
        name: of the parent. Gockers that do not see each other's state need different ones,
            or each would take the other's containers for leftovers.

    Raises:
        HostError: if there is no cgroup hierarchy, or none that can be used.
    """
    if layout is None:
        layout = mounts.read()
    if layout.mode is None:
        raise HostError(
            "no cgroup hierarchy is mounted",
            hint="mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        )
    if layout.mode == "v2" and layout.v2 is not None:
        # Imported when needed: a v1 host does not pay for bpf(2) and ctypes.
        from gocker.cgroup import v2

        try:
            at = v2.choose_parent(layout.v2, parent, name)
        except HostError as error:
            return none.Manager(layout.mode, error.message, error.hint or "")
        made: Manager = v2.Manager(layout.v2.mount, at)
        made.name = None if parent is not None else name
        return made
    from gocker.cgroup import v1

    directories = {}
    for controller, hierarchy in layout.v1.items():
        base = hierarchy.mount.rstrip("/") if parent is not None else hierarchy.directory
        # Named hierarchies (systemd) limit nothing; one not reachable from here is not there.
        if "=" not in controller and base is not None:
            directory = f"{base}/{(parent or name).strip('/')}"
            if _may_make(directory):
                directories[controller] = directory
    if not directories:
        return none.Manager(layout.mode, "no cgroup is this user's to use", _V1_HINT)
    made = v1.Manager(directories, layout.mode)
    made.name = None if parent is not None else name
    return made


def _may_make(directory: str) -> bool:
    """Return whether cgroups can be made below a directory, which may have to be made itself."""
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    return os.access(directory, os.W_OK | os.X_OK)


def other_managers(own: Manager, layout: mounts.Layout | None = None) -> list[Manager]:
    """Return managers of the other cgroups of `own`'s name, wherever in the hierarchies.

    A killed gocker leaves them where it was started, and with systemd each login is a cgroup of
    its own. Walks all cgroups: for `down`, not for every start.
    """
    if layout is None:
        layout = mounts.read()
    mine = set(own.directories.values())
    found: list[Manager] = []
    if isinstance(own, none.Manager):
        return found
    if own.mode == "v2" and layout.v2 is not None:
        from gocker.cgroup import v2

        others = _named(layout.v2.mount, own.name) - mine
        found += [v2.Manager(layout.v2.mount, path) for path in sorted(others)]
    else:
        from gocker.cgroup import v1

        places: dict[str, dict[str, str]] = {}
        for controller in own.directories:
            mount = layout.v1[controller].mount
            for path in _named(mount, own.name) - mine:
                places.setdefault(path.removeprefix(mount), {})[controller] = path
        found += [v1.Manager(directories, own.mode) for directories in places.values()]
    for manager in found:
        manager.name = own.name
    return found


def _named(top: str, name: str | None) -> set[str]:
    return {f"{path}/{name}" for path, names, _ in os.walk(top) if name in names}
