"""What dead runs left, and who is not dead."""

from __future__ import annotations

from gocker.state import leftovers
from gocker.state.names import run_of
from gocker.state.run import runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.scheduler.launcher import Launcher
    from gocker.state.roots import Roots
    from gocker.state.run import Run


def sweep(
    launcher: Launcher, roots: Roots, cgroups: list[str], *, dry_run: bool = False
) -> list[str]:
    """Remove what dead runs left, found in the kernel and on disk; return the names.

    A run identifier is never used again and its lock is held before its first cgroup is made:
    what was found before and is not alive now is dead for good. Of a run that left no trace on
    disk only the kernel can tell: its cgroups go if no launcher lives above what is in them.
    """
    known = {run.id: run.alive() for run in runs(roots)}
    unknown = [name for name in cgroups if run_of(name) not in known]
    dead = [name for name in cgroups if known.get(run_of(name)) is False]
    directories = [
        leftovers.container_path(roots, name) for name in leftovers.stale_containers(roots)
    ]
    if not dead and not unknown and not directories:
        return []
    message = {
        "op": "sweep", "names": dead, "unknown": unknown, "directories": directories,
        "dry_run": dry_run,
    }  # fmt: skip
    removed: list[str] = launcher.call(message)["removed"]
    return removed


def living(roots: Roots, project: str) -> list[Run]:
    """Return the project's runs that somebody still holds."""
    return [run for run in runs(roots, project) if run.alive()]
