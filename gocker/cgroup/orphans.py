"""Whether the processes of a cgroup belong to a launcher that lives, as the kernel alone tells.

What a container's processes are called is theirs to choose, so they are never asked: only their
first ancestor outside of the cgroup is, which is the launcher, or whoever adopts orphans.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_LAUNCHER = "gocker-launcher"  # TASK_COMM_LEN leaves 15 characters


def are_orphans(pids: Iterable[int]) -> bool:
    """Return whether no process has a launcher above it; True for none at all.

    A process that cannot be looked at counts as a launcher's: it may be.
    """
    inside = set(pids)
    return all(_is_orphan(pid, inside) for pid in inside)


def _is_orphan(pid: int, inside: set[int]) -> bool:
    while pid in inside:
        status = _status(pid)
        if status is None:
            return False
        pid = int(status["PPid"])
    status = _status(pid) if pid else None
    return pid == 0 or (status is not None and status["Name"] != _LAUNCHER)


def _status(pid: int) -> dict[str, str] | None:
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            return {
                key: value.strip()
                for key, _, value in (line.partition(":") for line in file)
                if key in ("Name", "PPid")
            }
    except OSError:
        return None
