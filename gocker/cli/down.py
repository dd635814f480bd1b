"""``gocker down``: stop a project's runs and remove everything they left."""

from __future__ import annotations

import argparse
import os
import signal

from gocker.cli.options import load, say
from gocker.cli.options import parser as new_parser
from gocker.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.scheduler.launcher import Launcher

_GRACE_S = 10.0
# Between the stop signal and SIGKILL every container has its own grace; this is on top.
_MARGIN_S = 60.0


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = new_parser("down", "Stop a project's containers; remove them and what they left.")
    add = made.add_argument
    add("words", nargs="*", metavar="FILE")
    add("-v", "--volumes", action="store_true", help="remove the project's named volumes, too")
    add("-t", "--timeout", type=float, default=_GRACE_S, metavar="SECONDS", help="stop timeout")
    return made


def execute(arguments: argparse.Namespace, launcher: Launcher) -> int:
    """Bring the project down; nothing to do is no failure."""
    from gocker.cli.opening import prepare_launcher
    from gocker.cli.plancache import forget
    from gocker.cli.session import living, sweep
    from gocker.state import volumes
    from gocker.state.roots import Roots
    from gocker.state.run import remove_unfinished, runs

    project = _project(arguments)
    with Roots.open(os.environ) as roots:
        for run in living(roots, project):
            say(f"stopping run {run.id}")
            run.stop(signal.SIGTERM)
            if not run.wait(arguments.timeout + _MARGIN_S):
                run.stop(signal.SIGKILL)
                if not run.wait(_MARGIN_S):
                    raise HostError(f"run {run.id} does not end", hint="see ps and dmesg")
        removed = sweep(launcher, roots, prepare_launcher(launcher, roots, None)["cgroups"])
        removed += remove_unfinished(roots)
        for name in removed:
            say(f"removed {name}")
        found = runs(roots, project)
        newer = None
        for run in found:
            if run.newer:
                newer = run
                continue
            run.remove()
            say(f"{'kept aside' if run.damaged else 'removed'} run {run.id}")
        forget(roots, project)
        if arguments.volumes:
            for volume in volumes.volumes(roots, project):
                volumes.remove(roots, project, volume.name)
                say(f"removed volume {volume.name}")
        if not found and not removed:
            say(f"project {project!r} has nothing to bring down")
        if newer is not None:
            newer.remove()  # which says why not
    return 0


def _project(arguments: argparse.Namespace) -> str:
    """Return the project's name; the spec need not be valid, or there, when -p names it."""
    if arguments.project_name and not arguments.words and not arguments.file:
        name: str = arguments.project_name
        return name
    loaded, _ = load(arguments, arguments.words)
    return loaded.name
