"""The cgroups of an OCI container: where ``cgroupsPath`` puts them, and how to find them again.

An absolute path counts from the mount point of each hierarchy, a relative one from the cgroup
that the runtime was called in (config-linux.md "Cgroups Path").
"""

from __future__ import annotations

import os
from errno import EBUSY, ENOENT, ENOTEMPTY

from gocker.cgroup import mounts
from gocker.errors import ConfigError, HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.cgroup.base import Manager
    from gocker.cgroup.group import Cgroup


def plan(
    container_id: str, path: str | None, resources: dict[str, Any]
) -> tuple[Manager, dict[str, Any]]:
    """Return the manager for a new container, and the record by which `find` knows its cgroups.

    Nothing is made. A user who may not make cgroups gets none, unless one is asked for by a path
    or a limit. Rules for devices ask for nothing then: such a user cannot make nodes.

    Raises:
        ConfigError: a path with ``..``.
        HostError: no hierarchy that can be used.
    """
    layout = mounts.read()
    if layout.mode is None:
        raise HostError(
            "no cgroup hierarchy is mounted", hint="mount -t cgroup2 cgroup2 /sys/fs/cgroup"
        )
    path = path or container_id
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        raise ConfigError(f"linux.cgroupsPath {path!r} cannot be used", phase="cgroup")
    parent, name = "/".join(parts[:-1]), parts[-1]
    absolute = path.startswith("/")
    record: dict[str, Any] = {"mode": layout.mode, "name": name}
    if layout.mode == "v2" and layout.v2 is not None:
        from gocker.cgroup import v2

        wanted = parent if absolute else None
        record["mount"] = layout.v2.mount
        chosen = v2.choose_parent(layout.v2, wanted, parent)
        record["directories"] = {"": chosen.rstrip("/") or "/"}
    else:
        directories = {}
        for controller, hierarchy in layout.v1.items():
            base = hierarchy.mount if absolute else hierarchy.directory
            # Named hierarchies limit nothing; what is not reachable from here is not there.
            if "=" not in controller and base is not None:
                directories[controller] = f"{base.rstrip('/')}/{parent}".rstrip("/")
        record["directories"] = directories
    limited = path != container_id or any(resources[key] for key in resources if key != "devices")
    if os.geteuid() != 0 and not limited and not _writable(record["directories"]):
        record |= {"mode": "none", "directories": {}}
    record["made"] = _missing(record["directories"])
    return manager(record), record


def _writable(directories: dict[str, str]) -> bool:
    return all(os.access(path, os.W_OK) for path in directories.values())


def _missing(directories: dict[str, str]) -> list[str]:
    """Return the parents that will have to be made, outermost first."""
    found = []
    for path in dict.fromkeys(directories.values()):
        chain = []
        missing = path
        while not os.path.isdir(missing):
            chain.append(missing)
            missing = os.path.dirname(missing)
        found += chain[::-1]
    return found


def manager(record: dict[str, Any]) -> Manager:
    """Return a manager for the hierarchies in a record."""
    made: Manager
    if record["mode"] == "v2":
        from gocker.cgroup import v2

        made = v2.Manager(record["mount"], record["directories"][""])
    else:
        from gocker.cgroup import v1

        made = v1.Manager(record["directories"], record["mode"])
        # Every controller, as callers and containers expect to find them.
        made.always = tuple(dict.fromkeys(record["directories"].values()))
    made.reuse = True
    return made


def find(record: dict[str, Any] | None) -> Cgroup | None:
    """Return the cgroups of a container as they are now; None if it never had any."""
    if record is None or record["mode"] == "none":
        return None
    found = manager(record)
    name = record["name"]
    parents = dict.fromkeys(found.directories.values())
    present = [parent for parent in parents if os.path.isdir(f"{parent}/{name}")]
    return found.group(name, present)


def paths(record: dict[str, Any]) -> dict[str, str]:
    """Return controller -> directory; on v2 there is one, named ""."""
    return {
        controller: f"{directory.rstrip('/')}/{record['name']}"
        for controller, directory in record["directories"].items()
    }


def remove_parents(record: dict[str, Any]) -> None:
    """Remove the parents that were made for the container, if nobody else uses them."""
    for path in reversed(record["made"]):
        try:
            os.rmdir(path)
        except OSError as error:
            if error.errno not in (EBUSY, ENOENT, ENOTEMPTY):
                raise


def thaw(pid: int) -> None:
    """Let a killed process die, wherever somebody moved and froze it (v1: SIGKILL has to wait)."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
            rows = [line.rstrip("\n").split(":", 2) for line in file]
    except (FileNotFoundError, ProcessLookupError):
        return
    hierarchy = mounts.read().v1.get("freezer")
    for _, controllers, path in rows:
        if "freezer" in controllers.split(",") and hierarchy is not None and path != "/":
            directory = mounts.locate(hierarchy.mount, hierarchy.root, path)
            try:
                with open(f"{directory}/freezer.state", "w", encoding="utf-8") as file:
                    file.write("THAWED")
            except OSError:
                return  # gone, or not ours: waiting for the process's end tells
