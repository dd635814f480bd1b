"""``up`` on a project that lives already: hand over the plan, and watch what comes of it."""

from __future__ import annotations

import json
import os

from gocker.cli.options import say
from gocker.cli.watch import follow
from gocker.errors import UsageError
from gocker.plan import codec
from gocker.report.human import safe
from gocker.scheduler import signals
from gocker.state.logs import Logs
from gocker.state.run import Run
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from gocker.plan.model import Plan
    from gocker.state.control import Channel, Message
    from gocker.state.roots import Roots


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to become of the units of a living project, as ``up``'s options say.

    `renew`: made anew in any case. `keep`: not made anew although they differ. `start`: those
    that are to run. `remove_orphans`: end services that the spec does not have.
    """

    renew: tuple[str, ...]
    keep: tuple[str, ...]
    start: tuple[str, ...]
    remove_orphans: bool = False
    timeout_s: float | None = None
    what: str = "decided"


def changes(arguments: argparse.Namespace, plan: Plan, named: list[str]) -> Changes:
    """Return what the options of ``up`` mean for this plan."""
    if arguments.force_recreate and arguments.no_recreate:
        raise UsageError("--force-recreate and --no-recreate contradict each other")
    if arguments.no_recreate and arguments.always_recreate_deps:
        raise UsageError("--no-recreate and --always-recreate-deps contradict each other")
    units = plan.units.values()
    own = [u.name for u in units if not named or {u.name, u.service} & set(named)]
    deps = [u.name for u in units if u.name not in own]
    renew: list[str] = []
    if arguments.force_recreate:
        renew += own
    if arguments.always_recreate_deps:
        renew += deps
    if arguments.renew_anon_volumes:
        renew += [
            name for name in own
            if any(item.kind == "anonymous" for item in plan.containers[name].prepare)
        ]  # fmt: skip
    return Changes(
        renew=tuple(dict.fromkeys(renew)),
        keep=tuple(plan.units) if arguments.no_recreate else (),
        start=() if arguments.no_start else tuple(plan.units),
        remove_orphans=arguments.remove_orphans,
        timeout_s=arguments.timeout,
        what="ready" if arguments.wait else "decided",
    )


def adopt(
    channel: Channel, plan: Plan, wanted: Changes, patience_s: float | None
) -> Message | None:
    """Hand a plan to the living project; return its answer, None if there is none in time."""
    body = {
        **codec.encode(plan),
        "renew": wanted.renew, "keep": wanted.keep, "start": wanted.start,
    }  # fmt: skip
    fd = os.memfd_create("gocker-plan", os.MFD_CLOEXEC)
    with open(fd, "wb") as file:
        file.write(json.dumps(body, separators=(",", ":")).encode())
        file.flush()
        return channel.call(
            "adopt", (fd,), patience_s=patience_s, remove_orphans=wanted.remove_orphans,
            stop_timeout_s=wanted.timeout_s, wait=wanted.what,
        )  # fmt: skip


def join(
    arguments: argparse.Namespace, plan: Plan, roots: Roots, channel: Channel, named: list[str]
) -> int:
    """Bring the living project into line with the plan; in the foreground, stay with it.

    Returns:
        the exit code: as ``up -d``'s when detached, else whether a unit has failed.
    """
    wanted = changes(arguments, plan, named)
    detached = arguments.detach or arguments.wait or arguments.no_start
    run = Run.load(roots, str(channel.ask_for("hello")["run"]))
    logs = Logs(run, shown(arguments, plan, named), None)
    logs.skip()
    answer = adopt(channel, plan, wanted, arguments.wait_timeout)
    if answer is None:
        say(f"gocker: not ready after {arguments.wait_timeout:g} s; it goes on")
        return 1
    if not detached:
        signals.hold()  # a Ctrl-C from now on is about the services
    _tell(arguments, plan, answer, run)
    if detached or not wanted.start:
        code: int = answer["exit_code"]
        return code
    with logs:
        services = list(dict.fromkeys(unit.service for unit in plan.units.values()))
        return follow(arguments, channel, run, logs, services, max(map(len, plan.units)))


def shown(arguments: argparse.Namespace, plan: Plan, named: list[str]) -> set[str]:
    """Return the instances whose output ``up`` shows (--attach, --no-attach ...).

    Raises:
        UsageError: --attach or --no-attach name no service of the plan.
    """
    services = {unit.service for unit in plan.units.values()}
    if unknown := {*arguments.attach, *arguments.no_attach} - services:
        from gocker.cli.naming import no_such_service

        raise no_such_service(sorted(unknown), services, "--attach, --no-attach: ")
    wanted = set(arguments.attach) or services
    if named and not arguments.attach and not arguments.attach_dependencies:
        wanted = {u.service for u in plan.units.values() if {u.name, u.service} & set(named)}
    wanted -= set(arguments.no_attach)
    return {
        unit.name for unit in plan.units.values()
        if unit.service in wanted and plan.containers[unit.name].attach
    }  # fmt: skip


def _tell(arguments: argparse.Namespace, plan: Plan, answer: Message, run: Run) -> None:
    if answer["orphans"] and not arguments.remove_orphans:
        say(safe(f"gocker: not in the spec any more: {', '.join(answer['orphans'])}; "
                 "--remove-orphans ends them"))  # fmt: skip
    if answer["because"] is not None:
        say(safe(f"gocker: {answer['because']} did not start as it should"))
    if not arguments.quiet:
        changed = answer["changed"]
        what = f"made anew: {', '.join(changed)}" if changed else "nothing differs"
        say(safe(f"gocker: project {plan.project!r} lives in run {run.id}: {what}"))
