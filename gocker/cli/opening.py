"""Opens a run: its directory, and the launcher's work that needs nothing else.

Imports little: while the launcher makes its mounts, finds its cgroups and compiles the seccomp
profile, the front imports the scheduler.
"""

from __future__ import annotations

import json
import os

from gocker.nested import in_user_namespace
from gocker.scheduler import signals
from gocker.state.run import Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.plan.model import Plan
    from gocker.scheduler.launcher import Launcher
    from gocker.state.roots import Roots

# What `gocker.runtime.landlock` asks for, by the ABI that has it.
LANDLOCK_PARTS = ((2, "no mounts"), (5, "no ioctl outside of /dev"), (6, "scopes"))
LANDLOCK_ABI = 6
_CHECKED_AT_ONCE = 100  # resources in one message: about 1 KB each, of wire.MAX_MESSAGE


def open_run(plan: Plan, roots: Roots, launcher: Launcher) -> Run:
    """Return a new run of the plan; the launcher's answer is still to be read.

    Signals are held from here until the loop handles them: the run's log tells of each.
    """
    signals.hold()
    run = None
    try:
        run = Run.create(roots, plan.project, plan.files)
        if plan.network is not None:
            from gocker.scheduler.network import ProjectNetwork

            launcher.network = ProjectNetwork(plan, run, launcher)
        ids_fd = _claim_ids(plan, roots)
        ask_launcher(launcher, roots, run, locks=ids_fd)
        for fd in ids_fd:
            os.close(fd)
        for made in plan.containers.values():
            profile = made.config["linux"].get("seccomp")
            if profile is not None:
                launcher.define("seccomp", profile)
                break
    except BaseException:
        if run is not None:
            run.close()
        signals.release()
        raise
    return run


def _claim_ids(plan: Plan, roots: Roots) -> tuple[int, ...]:
    """Give the plan's user namespaces ids that nobody else has; return what holds them."""
    if not any("uidMappings" in made.config["linux"] for made in plan.containers.values()):
        return ()
    from gocker.plan import userns
    from gocker.state import ids

    wanted = userns.wanted_range(plan.project)
    number, fd = ids.claim(roots, wanted, userns.COUNT)
    if number != wanted:
        userns.move(plan, number)
    return (fd,)


def prepare_launcher(launcher: Launcher, roots: Roots, run: Run | None) -> dict[str, Any]:
    """Tell the launcher where to work; return what it says of the host."""
    ask_launcher(launcher, roots, run)
    return launcher.answer()


def ask_launcher(
    launcher: Launcher, roots: Roots, run: Run | None, number: int = 0,
    locks: tuple[int, ...] = (),
) -> None:  # fmt: skip
    """Tell the launcher where to work, without waiting; `number` tells those of a run apart.

    `locks`: descriptors that it is to hold beside the run's.
    """
    os.close(roots.open_live("scratch"))
    os.close(roots.open_data("containers"))
    message = {
        "op": "init",
        "scratch": os.path.join(roots.live, "scratch"),
        "layers": os.path.join(roots.data, "containers"),
        "prefix": f"{run.id}-{number}" if run is not None else "none",
        "cgroup": roots.cgroup_name,
        "vfork": not os.environ.get("GOCKER_NO_VFORK"),
        "everywhere": run is None,
        "programs": roots.programs(),
    }
    launcher.ask(message, (run.lock_fd, *locks) if run is not None else ())


def isolation(ready: dict[str, Any]) -> str:
    """Return the rung of the ladder that the run is on: docs/hosts.md.

    ``root``; ``rootless-delegated``, which has a cgroup for limits of memory and tasks;
    ``rootless``, which limits nothing.
    """
    if not in_user_namespace():
        return "root"
    return "rootless-delegated" if {"memory", "pids"} <= {*ready["controllers"]} else "rootless"


def missing(ready: dict[str, Any], plan: Plan) -> list[tuple[str, str]]:
    """Return what this host cannot do of the confinement that a plan asks for, in words."""
    found = []
    if not ready["read_only"]:
        found.append(("interpreter", "it could not be started from a read-only mount"))
    limits = {name for made in plan.containers.values() for name in made.optional}
    for name in sorted(limits):
        controller = name.partition(".")[0]
        if controller not in ready["controllers"]:
            detail = f"gocker's own {name} is not enforced: no cgroup controller {controller!r}"
            found.append(("limits", detail))
    abi = ready["landlock"]
    if abi < LANDLOCK_ABI and any(made.landlock is not None for made in plan.containers.values()):
        parts = [part for since, part in LANDLOCK_PARTS if abi < since]
        found.append(("landlock", f"the kernel has ABI {abi}: not enforced: {', '.join(parts)}"))
    return found


def check_limits(launcher: Launcher, plan: Plan) -> None:
    """Refuse a plan that this host cannot limit as it asks, before anything starts.

    Raises:
        HostError: naming the controller that is missing, and how to mount it.
    """
    different = {
        json.dumps([container.config["linux"]["resources"], container.optional], sort_keys=True)
        for name, container in plan.containers.items()
        if not plan.units[name].best_effort
    }
    resources = [json.loads(text) for text in sorted(different)]
    for first in range(0, len(resources), _CHECKED_AT_ONCE):
        chunk = resources[first : first + _CHECKED_AT_ONCE]
        launcher.call({"op": "check", "resources": chunk})
