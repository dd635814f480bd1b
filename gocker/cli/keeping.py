"""What a session does for containers that outlive it, or have outlived another one."""

from __future__ import annotations

import os

from gocker.state import control, journal
from gocker.state.lost import EXIT_CODE, SUPERVISOR_LOST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from gocker.scheduler.takeover import Taken
    from gocker.state.containers import ContainerState
    from gocker.state.roots import Roots
    from gocker.state.run import Run


def descriptors(roots: Roots, run: Run) -> dict[str, int]:
    """Return the project's descriptors for `takeover.keep_project`, the caller's own."""
    directory = control.open_directory(roots, run.project)
    try:
        listener = control.listen(directory, control.KEPT).detach()
    finally:
        os.close(directory)
    with run.opened() as run_fd:
        written = journal.open_journal(run_fd)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    return {"listener": listener, "journal": written, "null": null}


def forget(roots: Roots, project: str) -> None:
    """Remove the socket: nothing outlives us any more."""
    directory = control.open_directory(roots, project)
    control.unlink(directory, control.KEPT)
    os.close(directory)


def go_on(
    record: Callable[[str, dict[str, Any]], object], taken: Taken, lost: Iterable[ContainerState]
) -> None:  # fmt: skip
    """Tell what became of the run since its supervisor was killed."""
    record("run.resumed", {"process.pid": os.getpid(), "containers": sorted(taken.held)})
    for item in lost:
        record("container.lost", {
            "service": item.service, "instance": item.instance, "attempt": item.attempt,
            "container.id": item.id, "reason": SUPERVISOR_LOST, "exit_code": EXIT_CODE,
        })  # fmt: skip
