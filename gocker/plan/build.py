"""Project -> Plan: instances, roles, edges, and each one's container."""

from __future__ import annotations

import signal

from gocker.errors import GockerError, PlanError
from gocker.plan import posture
from gocker.plan.container import container, image, no_new_privileges, seccomp_unconfined
from gocker.plan.graph import order_units
from gocker.plan.model import (
    Artifacts,
    Dependency,
    Healthcheck,
    MatrixGroup,
    Plan,
    Ready,
    Restart,
    Retry,
    Unit,
)
from gocker.plan.resources import limits
from gocker.values import dataclass, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from gocker.plan.container import Host
    from gocker.plan.model import Container, Role
    from gocker.spec.expand import Instance
    from gocker.spec.model.project import Project
    from gocker.spec.model.service import Container as Service

_RESTART = {"none": "no", "on-failure": "on-failure", "any": "always"}


# What a replica, and an instance of a matrix, finds in its environment.
REPLICA = "GOCKER_REPLICA"
MATRIX = "GOCKER_MATRIX_"


@dataclass(frozen=True, slots=True)
class _Made:
    """An instance to plan: its name, its service, and variables of its own."""

    name: str
    service: Service
    variables: dict[str, str]


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
    services: dict[str, Service] = {**project.services, **project.jobs}
    matrices = matrices or {}
    made = {name: _instances(name, it, matrices.get(name)) for name, it in services.items()}
    instances = {name: [item.name for item in items] for name, items in made.items()}
    units: dict[str, Unit] = {}
    containers: dict[str, Container] = {}
    notes: list[tuple[str, dict[str, Any]]] = [
        ("key.ignored", {"path": item.path, "place": item.place, "reason": item.reason})
        for item in project.ignored
    ]
    for name, items in made.items():
        role = roles.get(name, "job")
        matrix = name if name in matrices else None
        for one in items:
            instance, service = one.name, one.service
            if instance in units:
                raise PlanError(f"services.{name}: {instance!r} is the name of two instances",
                                hint="rename one of the services")  # fmt: skip
            try:
                found = container(
                    service, instance, project, host, one.variables, job=role == "job"
                )
            except GockerError as error:
                raise PlanError(f"services.{name}: {error.message}", hint=error.hint) from error
            containers[instance] = replace(found, artifacts=_artifacts(service))
            unit = _unit(service, name, instance, role, instances, found)
            units[instance] = replace(unit, matrix=matrix) if matrix else unit
            notes += _relaxed(service, name, instance)
    top = project.x_gocker
    return Plan(
        project=project.name,
        units=order_units(units),
        containers=containers,
        timeout_s=top.timeout if top else None,
        parallel=(top.parallel if top else None) or host.cpus,
        fail_fast=top.fail_fast if top else False,
        files=tuple(files),
        directory=directory,
        notes=tuple(notes),
        matrices=_matrices({name: services[name] for name in matrices}),
    )


def _instances(name: str, service: Service, matrix: Sequence[Instance] | None) -> list[_Made]:
    """Return the instances of a service: its combinations, and the replicas of each."""
    if matrix is None:
        return _replicas(_Made(name, service, {}))
    found = []
    for item in matrix:
        variables = {f"{MATRIX}{key}": value for key, value in item.values.items()}
        found += _replicas(_Made(item.name, item.service, variables))
    return found


def _replicas(one: _Made) -> list[_Made]:
    count = getattr(one.service, "replicas", 1)
    if count == 1:
        return [one]
    return [
        _Made(f"{one.name}-{number}", one.service, {**one.variables, REPLICA: str(number)})
        for number in range(1, count + 1)
    ]


def _matrices(services: Mapping[str, Service]) -> dict[str, MatrixGroup]:
    return {
        name: MatrixGroup(service.x_gocker.matrix.max_parallel, service.x_gocker.matrix.fail_fast)
        for name, service in services.items()
        if service.x_gocker is not None and service.x_gocker.matrix is not None
    }


def _unit(
    service: Service, name: str, instance: str, role: Role, instances: Mapping[str, list[str]],
    made: Container,
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
        stop_signal=stop_signal(service.stop_signal),
        stop_grace_s=10.0 if service.stop_grace_period is None else service.stop_grace_period,
        health=_health(service),
        limits=limits(made.config["linux"]["resources"]),
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
    )


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
        return Restart(_RESTART[policy.condition], policy.max_attempts, policy.delay)  # type: ignore[arg-type]  # the values are Restart's
    condition, _, attempts = (getattr(service, "restart", None) or "no").partition(":")
    return Restart(condition, int(attempts) if attempts else None)  # type: ignore[arg-type]  # the model has checked the word


def _health(service: Service) -> Healthcheck | None:
    check = service.healthcheck
    if check is None or not check.enabled or check.test is None:
        return None
    kind, *argv = check.test
    test = ("/bin/sh", "-c", argv[0]) if kind == "CMD-SHELL" else tuple(argv)
    default = Healthcheck(test)
    # 0 is Compose's word for the default here.
    return Healthcheck(
        test,
        interval_s=check.interval or default.interval_s,
        timeout_s=check.timeout or default.timeout_s,
        retries=check.retries or default.retries,
        start_period_s=check.start_period or default.start_period_s,
        start_interval_s=check.start_interval or default.start_interval_s,
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


def _relaxed(service: Service, name: str, instance: str) -> list[tuple[str, dict[str, Any]]]:
    """Return a note for everything that weakens the default confinement."""
    found: list[tuple[str, str, str]] = []
    if service.cap_add:
        default = " ".join(cap.removeprefix("CAP_") for cap in posture.DEFAULT_CAPS)
        found.append(("cap_add", " ".join(service.cap_add), default))
    if not no_new_privileges(service):
        found.append(("no_new_privileges", "false", "true"))
    if seccomp_unconfined(service):
        found.append(("seccomp", "unconfined", "gocker's allow-list"))
    if service.network_mode == "host":
        found.append(("network_mode", "host", "a network namespace of its own"))
    if service.devices:
        found.append(("devices", " ".join(device.source for device in service.devices), "none"))
    if service.pids_limit == -1:
        found.append(("pids_limit", "-1", str(posture.PIDS_LIMIT)))
    unit = {"service": name, "instance": instance}
    return [
        ("security.relaxed", {**unit, "what": what, "value": value, "default": default})
        for what, value, default in found
    ]
