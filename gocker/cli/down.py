"""``gocker down``: stop a project's runs and remove everything they left."""

from __future__ import annotations

import os
import signal

from gocker.cli import lifecycle
from gocker.cli.holding import hold_or_join, until_end
from gocker.cli.options import parser as new_parser
from gocker.cli.options import say
from gocker.cli.project import named
from gocker.errors import GockerError, HostError, UsageError
from gocker.state.control import ControlLostError
from gocker.state.locks import InUseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from gocker.cli.options import Parser
    from gocker.scheduler.launcher import Launcher
    from gocker.state.control import Channel
    from gocker.state.locks import Lock
    from gocker.state.roots import Roots
    from gocker.state.run import Run

# For a front that is told by signal: each container has its own grace before SIGKILL; this is
# on top.
_GRACE_S = 10.0
_MARGIN_S = 60.0


def parser() -> Parser:
    """Return the command's parser."""
    made = new_parser("down", "Stop a project's containers; remove them and what they left.")
    add = made.add_argument
    add("words", nargs="*", metavar="FILE|SERVICE", help="services: only stop those")
    add("-v", "--volumes", action="store_true", help="remove the project's named volumes, too")
    add("-t", "--timeout", type=lifecycle.seconds, metavar="SECONDS",
        help="before SIGKILL; default: the service's own")  # fmt: skip
    add("-q", "--quiet", action="store_true", help="say nothing but errors")
    add("--remove-orphans", action="store_true", help="accepted: all of a project is removed")
    add("--rmi", choices=("local", "all"), help="not here: see gocker image rm")
    return made


def execute(arguments: argparse.Namespace, launcher: Launcher) -> int:
    """Bring the project down; nothing to do is no failure."""
    from gocker.state.roots import Roots

    if arguments.rmi:
        raise UsageError("--rmi: down removes no images", hint="gocker image rm does")
    project, services = named(arguments, arguments.words)
    if services:
        return lifecycle.change(arguments, "stop", "stopped", {"timeout_s": arguments.timeout})
    with Roots.open(os.environ) as roots, _hold(arguments, roots, project):
        done = _clean(arguments, roots, project, launcher)
    if not done and not arguments.quiet:
        say(f"project {project!r} has nothing to bring down")
    return 0


def _hold(arguments: argparse.Namespace, roots: Roots, project: str) -> Lock:
    """Return the project's lock, after whoever had it was brought down."""
    while True:
        try:
            lock, channel = hold_or_join(roots, project)
        except InUseError:
            # It does not listen: stopped by SIGSTOP, or about to start for a minute.
            if not _stop_by_signal(arguments, roots, project):
                raise
            continue
        if lock is not None:
            return lock
        assert channel is not None  # noqa: S101  # for the type checker
        with channel:
            _bring_down(arguments, roots, channel)


def _bring_down(arguments: argparse.Namespace, roots: Roots, channel: Channel) -> None:
    from gocker.state.run import Run

    try:
        run_id = str(channel.ask_for("hello")["run"])
        if not arguments.quiet:
            say(f"stopping run {run_id}")
        channel.ask_for("down", timeout_s=arguments.timeout)
        until_end(channel)
        Run.load(roots, run_id).wait(_MARGIN_S)
    except ControlLostError:
        pass  # it ended by itself
    except GockerError as error:
        if "no run" not in error.message:  # another `down` has removed it
            raise


def _stop_by_signal(arguments: argparse.Namespace, roots: Roots, project: str) -> bool:
    """Stop runs that hold no project, as ``gocker run``'s, or do not listen."""
    from gocker.cli.sweeping import living

    found = living(roots, project)
    for run in found:
        if not arguments.quiet:
            say(f"stopping run {run.id}")
        run.stop(signal.SIGTERM)
        run.stop(signal.SIGCONT)  # one that was stopped, as by Ctrl-Z, would not see it
        if not run.wait((arguments.timeout or _GRACE_S) + _MARGIN_S):
            run.stop(signal.SIGKILL)
            if not run.wait(_MARGIN_S):
                raise HostError(f"run {run.id} does not end", hint="see ps and dmesg")
    return bool(found)


def finished(found: Iterable[Run]) -> list[Run]:
    """Return the runs to remove: not one that began meanwhile, which comes after this command."""
    return [run for run in found if not run.newer and not run.alive()]


def _clean(
    arguments: argparse.Namespace, roots: Roots, project: str, launcher: Launcher
) -> bool:  # fmt: skip
    """Remove what the project left; return whether there was anything."""
    from gocker.cli.opening import prepare_launcher
    from gocker.cli.plancache import forget
    from gocker.cli.sweeping import sweep
    from gocker.state import volumes
    from gocker.state.run import remove_unfinished, runs

    _stop_by_signal(arguments, roots, project)
    removed = sweep(launcher, roots, prepare_launcher(launcher, roots, None)["cgroups"])
    removed += remove_unfinished(roots)
    found = runs(roots, project)
    newer = [run for run in found if run.newer]
    found = finished(found)
    for run in found:
        run.remove()
    forget(roots, project)
    gone = []
    if arguments.volumes:
        gone = volumes.volumes(roots, project)
        for volume in gone:
            volumes.remove(roots, project, volume.name)
    if not arguments.quiet:
        for name in removed:
            say(f"removed {name}")
        for run in found:
            say(f"{'kept aside' if run.damaged else 'removed'} run {run.id}")
        for volume in gone:
            say(f"removed volume {volume.name}")
    if newer:
        newer[-1].remove()  # which says why not
    return bool(found or removed or gone)
