"""Project -> Plan: instances, roles, edges, and each one's container."""

from __future__ import annotations

import signal

from gocker.errors import GockerError, PlanError
from gocker.plan import security
from gocker.plan.container import built_name, container, image
from gocker.plan.graph import order_units
from gocker.plan.instances import instances, matrix_groups
from gocker.plan.model import (
    Artifacts,
    Dependency,
    Healthcheck,
    Plan,
    Ready,
    Reservation,
    Restart,
    Retry,
    Unit,
)
from gocker.plan.resources import limits, reservation
from gocker.spec.model.roles import uses_networks
from gocker.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from gocker.image.resolve import RootFs
    from gocker.network.model import Attachment, NetworkPlan
    from gocker.plan.container import Host
    from gocker.plan.instances import Made
    from gocker.plan.model import Container, Role
    from gocker.spec.expand import Instance
    from gocker.spec.model.project import Project
    from gocker.spec.model.service import Container as Service

_RESTART = {"none": "no", "on-failure": "on-failure", "any": "always"}


def build(
    project: Project, roles: Mapping[str, Role], host: Host, files: Iterable[str] = (),
    matrices: Mapping[str, Sequence[Instance]] | None = None, directory: str = "",
) -> Plan:  # fmt: skip
    """Return the plan of a project's services and selected jobs.

    Args:
        project: the spec.
        roles: of every service.
        host: facts about this machine.
        files: the spec's, for the record.
        matrices: the combinations of services that have a matrix.
        directory: the project's.

    Raises:
        PlanError: naming the service and what is wrong; or the cycle.
    """
    made = instances(project, matrices)
    names = {name: [item.name for item in items] for name, items in made.items()}
    groups = {name: name for name in matrices or ()}
    network, attachments = _network(project, roles, made)
    units: dict[str, Unit] = {}
    containers: dict[str, Container] = {}
    notes: list[tuple[str, dict[str, Any]]] = [
        ("key.ignored", {"path": item.path, "place": item.place, "reason": item.reason})
        for item in project.ignored
    ]
    for name, items in made.items():
        role = roles.get(name, "job")
        for instance, service, variables, owner in items:
            try:
                found = container(
                    service,
                    instance,
                    owner,
                    host,
                    variables,
                    job=role == "job",
                    reference=image(service, built_name(project, name)),
                    attachment=attachments.get(instance),
                    network=network,
                    units=names,
                    directory=directory,
                )
            except GockerError as error:
                raise PlanError(f"services.{name}: {error.message}", hint=error.hint) from error
            containers[instance] = replace(found, artifacts=_artifacts(service))
            reference = image(service, built_name(project, name))
            unit = _unit(service, name, instance, role, names, host.rootfs(reference))
            unit = replace(unit, image=reference)
            known = limits(found.config["linux"]["resources"])
            units[instance] = replace(unit, limits=known, matrix=groups.get(name))
            if instance == items[0].name:
                notes += _relaxed(found, name, instance)
    top = project.x_gocker
    capacity = None
    if top is not None and top.admission == "reserve":
        capacity = Reservation(host.cpus, host.memory)
        _check_reservations(units.values(), capacity)
    return Plan(
        project=project.name,
        units=order_units(units),
        containers=containers,
        timeout_s=top.timeout if top else None,
        parallel=(top.parallel if top else None) or host.cpus,
        fail_fast=top.fail_fast if top else False,
        files=tuple(files),
        directory=directory,
        keep=(top.keep if top else None) or "never",
        capacity=capacity,
        mask=_masked(project, made, containers, host),
        notes=tuple(notes),
        matrices=matrix_groups(project, groups),
        network=network,
    )


def _network(
    project: Project, roles: Mapping[str, Role], made: Mapping[str, list[Made]]
) -> tuple[NetworkPlan | None, Mapping[str, Attachment]]:
    """Return the project's networks, if it uses some, and each instance's part of them."""
    if not uses_networks(project, roles):
        return None, {}
    from gocker.network.plan import Planner

    planner = Planner(project, made)
    network = planner.plan()
    return network if planner.attachments else None, planner.attachments


def outline(
    project: Project, roles: Mapping[str, Role],
    matrices: Mapping[str, Sequence[Instance]] | None = None,
) -> Plan:  # fmt: skip
    """Return the plan without containers: nothing of this host is looked at, and nothing made.

    Raises:
        PlanError: what is wrong with the graph.
    """
    made = instances(project, matrices)
    names = {name: [item.name for item in items] for name, items in made.items()}
    units = {
        instance: _unit(service, name, instance, roles.get(name, "job"), names)
        for name, items in made.items()
        for instance, service, *_ in items
    }
    return Plan(project=project.name, units=order_units(units))


def _unit(
    service: Service, name: str, instance: str, role: Role, instances: Mapping[str, list[str]],
    root: RootFs | None = None,
) -> Unit:  # fmt: skip
    depends = tuple(
        Dependency(unit, wanted.condition, wanted.required, wanted.restart)
        for other, wanted in service.depends_on.items()
        for unit in instances.get(other, [])
    )
    unit = Unit(
        name=instance,
        service=name,
        image=image(service),
        role=role,
        depends=depends,
        restart=_restart(service),
        stop_signal=stop_signal(service.stop_signal or (root.stop_signal if root else "") or None),
        stop_grace_s=10.0 if service.stop_grace_period is None else service.stop_grace_period,
        health=_health(service, root),
        reserve=reservation(service),
        post_start=len(getattr(service, "post_start", ())),
        pre_stop=len(getattr(service, "pre_stop", ())),
    )
    extension = service.x_gocker
    if extension is None:
        return unit
    retry, allow, policy = extension.retry, extension.allow_failure, extension.limits
    return replace(
        unit,
        when=extension.when,
        timeout_s=extension.timeout,
        retry=Retry(retry.max, retry.when, retry.delay, retry.backoff) if retry else Retry(),
        success_codes=frozenset({0, *extension.success_codes}),
        allow_failure=allow.any if allow else False,
        allow_failure_codes=frozenset(allow.exit_codes) if allow else frozenset(),
        ready=Ready(extension.ready.log, extension.ready.port) if extension.ready else None,
        fail_on=policy.fail_on if policy is not None else (),
        best_effort=policy is not None and policy.enforce == "best-effort",
        on_supervisor_death=extension.on_supervisor_death,
    )


def with_limits(plan: Plan, policy: str | None) -> Plan:
    """Return a plan whose units all do the same about limits that cannot be set.

    `policy`: ``strict`` or ``best-effort``; None leaves the plan as it is.
    """
    if policy is None:
        return plan
    best_effort = policy == "best-effort"
    units = {name: replace(unit, best_effort=best_effort) for name, unit in plan.units.items()}
    return replace(plan, units=units)


def _check_reservations(units: Iterable[Unit], capacity: Reservation) -> None:
    """Refuse a reservation that does not fit the host beside those of all support services.

    Then every job can start at the latest when no other one runs.

    Raises:
        PlanError: with `path` of the service's reservations in its context.
    """
    cpus, memory = capacity.cpus, capacity.memory
    for unit in sorted(units, key=lambda unit: unit.role == "job"):
        wanted = unit.reserve
        fits = wanted.cpus <= cpus + 0.0005 and wanted.memory <= memory
        if not fits:
            raise PlanError(
                f"{unit.name!r} reserves {wanted.cpus:g} CPUs and {wanted.memory} bytes; with all "
                f"support services running {cpus:g} CPUs and {memory} bytes are left",
                hint="lower deploy.resources.reservations, or leave x-gocker.admission out",
                path=f"services.{unit.service}.deploy.resources.reservations",
            )
        if unit.role == "support":
            cpus, memory = cpus - wanted.cpus, memory - wanted.memory


def _masked(
    project: Project, made: Mapping[str, list[Made]], containers: Mapping[str, Container],
    host: Host,
) -> tuple[str, ...]:  # fmt: skip
    """Return the values of secrets, and of the variables that the spec names."""
    top = project.x_gocker.mask if project.x_gocker else ()
    found = {host.environ[name] for name in top if name in host.environ}
    for items in made.values():
        for instance, service, *_ in items:
            names = {*top, *(service.x_gocker.mask if service.x_gocker else ())}
            if names:
                lines = containers[instance].config["process"]["env"]
                pairs = (line.partition("=") for line in lines)
                found |= {value for name, _, value in pairs if name in names}
                found |= {host.environ[name] for name in names if name in host.environ}
            # The secrets come first.
            grants = containers[instance].grants[: len(service.secrets)]
            found |= {grant["content"] for grant in grants}
    return tuple(sorted(found))


def _artifacts(service: Service) -> Artifacts | None:
    extension = service.x_gocker
    if extension is None or not (extension.artifacts or extension.reports):
        return None
    reports = extension.reports.junit if extension.reports else ()
    wanted = extension.artifacts
    if wanted is None:
        return Artifacts(reports=reports)
    return Artifacts(wanted.paths, reports, wanted.when, wanted.max_size)


def _restart(service: Service) -> Restart:
    deploy = getattr(service, "deploy", None)
    if deploy is not None and deploy.restart_policy is not None:
        policy = deploy.restart_policy
        return Restart(
            _RESTART[policy.condition],  # type: ignore[arg-type]  # the values are Restart's
            policy.max_attempts, policy.delay, policy.window,
        )  # fmt: skip
    condition, _, attempts = (getattr(service, "restart", None) or "no").partition(":")
    return Restart(condition, int(attempts) if attempts else None)  # type: ignore[arg-type]  # the model has checked the word


def _health(service: Service, root: RootFs | None) -> Healthcheck | None:
    """Return the service's check; what it leaves out is the image's (as docker merges them)."""
    check = service.healthcheck
    own = _image_health(root) if root is not None and root.healthcheck else None
    if check is None:
        return own
    if check.disable or (check.test is None and own is None):
        return None
    if check.test is not None and not check.enabled:
        return None
    default = own or Healthcheck(())
    test = default.test if check.test is None else _probe(check.test)
    # 0 is Compose's word for the default here.
    return Healthcheck(
        test,
        interval_s=check.interval or default.interval_s,
        timeout_s=check.timeout or default.timeout_s,
        retries=check.retries or default.retries,
        start_period_s=check.start_period or default.start_period_s,
        start_interval_s=check.start_interval or default.start_interval_s,
    )


def _probe(test: Sequence[str]) -> tuple[str, ...]:
    kind, *argv = test
    return ("/bin/sh", "-c", argv[0]) if kind == "CMD-SHELL" else tuple(argv)


def _image_health(root: RootFs) -> Healthcheck | None:
    """Return an image's check, whose times are nanoseconds; 0 is the default."""
    found = root.healthcheck
    test = found.get("Test") or ("NONE",)
    if test[0] == "NONE":
        return None
    default = Healthcheck(_probe(test))
    return Healthcheck(
        default.test,
        interval_s=found.get("Interval", 0) / 1e9 or default.interval_s,
        timeout_s=found.get("Timeout", 0) / 1e9 or default.timeout_s,
        retries=found.get("Retries", 0) or default.retries,
        start_period_s=found.get("StartPeriod", 0) / 1e9 or default.start_period_s,
        start_interval_s=found.get("StartInterval", 0) / 1e9 or default.start_interval_s,
    )


def stop_signal(name: str | None) -> int:
    """Return the number of ``SIGTERM``, ``TERM``, ``15`` or ``RTMIN+3``; None is SIGTERM.

    Raises:
        PlanError: for anything else.
    """
    if name is None:
        return int(signal.SIGTERM)
    word = name.upper().removeprefix("SIG")
    if word.isascii() and word.isdecimal() and 1 <= int(word) <= 64:
        return int(word)
    base, sign, offset = word.partition("+" if "+" in word else "-")
    number = getattr(signal, f"SIG{base}", None)
    if isinstance(number, signal.Signals) and (not sign or offset.isdecimal()):
        result = int(number) + int(f"{sign}{offset}" or 0)
        if not sign or signal.SIGRTMIN <= result <= signal.SIGRTMAX:
            return result
    raise PlanError(f"unknown stop_signal {name!r}", hint="a name as SIGTERM, or a number 1..64")


def _relaxed(made: Container, name: str, instance: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the note about a service that is confined less than by default; one at most."""
    weaker = security.relaxed(made)
    if not weaker:
        return []
    fields = {"service": name, "instance": instance, "profile": made.profile, "weaker": weaker}
    return [("security.relaxed", fields)]
