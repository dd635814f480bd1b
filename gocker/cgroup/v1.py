"""The v1 driver; also for hybrid hosts (docs/cgroups.md says why the v2 tree is left alone)."""

from __future__ import annotations

import os

from gocker.cgroup import base, devices, tree, v1_limits
from gocker.cgroup.v1_group import Cgroup
from gocker.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from gocker.cgroup.limits import Setting

# Entered by every container: statistics (memory.peak, pids.peak, cpu.user_s) and the freezer.
# Each costs 40 to 60 us to make, enter and remove, memory 120 (docs/cgroups.md); so cpu,
# devices, cpuset and blkio are entered only when a limit of theirs is asked for.
_ALWAYS = ("memory", "pids", "cpuacct", "freezer")


class Manager(base.Manager):
    """See `base.Manager`. `directories` has one entry per v1 controller."""

    def __init__(self, directories: dict[str, str], mode: str = "v1") -> None:
        super().__init__(directories, _ALWAYS, mode)

    def settings(self, resources: Mapping[str, Any]) -> list[Setting]:
        """See `v1_limits.settings`."""
        return v1_limits.settings(resources)

    def compile_rules(self, rules: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
        """Return (file, line) for each write."""
        return v1_limits.device_writes(devices.parse(rules))

    def need_devices(self) -> None:
        """Raise HostError without the devices controller."""
        self.need("devices", "devices")

    def group(self, path: str, directories: Iterable[str]) -> Cgroup:
        """Return the object for a container's cgroups, nothing made."""
        return Cgroup(self, path, directories)

    def missing(self, controller: str, limit: str) -> HostError:
        """Return the error for a controller that is not mounted."""
        return HostError(
            f"{limit} needs the cgroup controller {controller!r}, which is not mounted here",
            hint=f"mkdir /sys/fs/cgroup/{controller}; "
            f"mount -t cgroup -o {controller} cgroup /sys/fs/cgroup/{controller}",
            controller=controller,
        )

    def mkdir(self, directory: str, path: str) -> None:
        """Make a container's cgroup, with CPUs in it even below a parent that is not ours."""
        super().mkdir(directory, path)
        if self.reuse:
            self.prepare(directory, f"{directory}/{path}")

    def prepare(self, directory: str, path: str) -> None:
        """Fill a new parent in the hierarchies whose children start empty or unbound."""
        is_cpuset = directory == self.directories.get("cpuset")
        is_memory = directory == self.directories.get("memory")
        if not is_cpuset and not is_memory:
            return
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if is_cpuset:
                for file in ("cpuset.cpus", "cpuset.mems"):
                    tree.write(file, (tree.read(f"../{file}", fd) or "").strip(), fd)
                # From here on the kernel copies cpus and mems to each child: no write of ours.
                tree.write("cgroup.clone_children", "1", fd)
            # Always 1 since Linux 5.11; before, limits of a parent did not bind its children.
            if is_memory and tree.read("memory.use_hierarchy", fd) == "0\n":
                tree.write("memory.use_hierarchy", "1", fd)
        finally:
            os.close(fd)
