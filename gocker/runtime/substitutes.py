"""What stands in for a limit that no cgroup can set: weaker, and said so.

Only where the spec allows to start without the limit (``limits: best-effort``): a container that
takes all memory would then end others first.
"""

from __future__ import annotations

from gocker.cgroup.limits import Skipped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker import oci
    from gocker.cgroup.group import Cgroup

# Private writable memory, and not address space: getrlimit(2), since Linux 4.7.
_DATA = "RLIMIT_DATA"


def apply(group: Cgroup, process: oci.Process) -> None:
    """Limit each process's own memory where the container's could not be; note it in `skipped`."""
    for number, skipped in enumerate(group.skipped):
        if skipped.limit != "memory.limit" or skipped.requested <= 0:
            continue
        rlimits = process.get("rlimits", [])
        if any(entry["type"] == _DATA for entry in rlimits):
            continue
        limit = skipped.requested
        process["rlimits"] = [*rlimits, {"type": _DATA, "soft": limit, "hard": limit}]
        group.skipped[number] = Skipped(
            skipped.limit, limit, f"{skipped.reason}; each process has {_DATA} instead"
        )
