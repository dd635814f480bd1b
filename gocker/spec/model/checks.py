"""Checks between keys, and of values that take more than one field to judge."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from gocker.spec.model import values
from gocker.spec.model.roles import roles, uses_networks
from gocker.spec.model.walk import Found

if TYPE_CHECKING:
    from gocker.spec.model.project import Project
    from gocker.spec.model.service import Container, Service


def problems(project: Project, without: frozenset[str]) -> list[Found]:
    """Return what is wrong between the keys of a project.

    Args:
        project: without its invalid parts.
        without: the names of those parts: they are there, nobody can say more about them.
    """
    found: list[Found] = []
    kinds = roles(project)
    for name, service in project.services.items():
        path = f"services.{name}"
        found += _container(project, without, path, service)
        found += _hooks(path, service)
        found += _names(path, service)
        if not without:  # what is left out may need it, and so make it a support service
            found += _restart(path, service, kinds[name])
    for name, job in project.jobs.items():
        path = f"jobs.{name}"
        found += _container(project, without, path, job)
        if job.x_gocker is not None and job.x_gocker.role == "support":
            found.append((f"{path}.x-gocker.role", "an entry of jobs is a job", None))
        if job.x_gocker is not None and job.x_gocker.on_supervisor_death == "keep":
            at = f"{path}.x-gocker.on_supervisor_death"
            found.append((at, "a job ends with what runs it; this is for services", None))
    if uses_networks(project, kinds):
        from gocker.network import check

        found += check.problems(project)
    return found


def _container(
    project: Project, without: frozenset[str], path: str, it: Container
) -> Iterator[Found]:
    yield from _dependencies(project, without, path, it)
    yield from _limits(path, it)
    yield from _grants(project, without, path, it)
    yield from _extension(path, it)
    yield from values.problems(path, it)


def _dependencies(
    project: Project, without: frozenset[str], path: str, it: Container
) -> Iterator[Found]:
    for name, dependency in it.depends_on.items():
        at = f"{path}.depends_on.{name}"
        other = project.services.get(name) or project.jobs.get(name)
        if other is None:
            if dependency.required and name not in without:
                yield at, f"there is no service {name!r}", None
        elif dependency.condition == "service_healthy" and not _can_be_healthy(other):
            hint = f"add healthcheck to {name!r}, or x-gocker.ready, or wait for service_started"
            yield at, f"{name!r} has no healthcheck, so it can never be healthy", hint


def _can_be_healthy(it: Container) -> bool:
    if it.healthcheck is not None:
        return it.healthcheck.enabled
    return it.x_gocker is not None and it.x_gocker.ready is not None


def _limits(path: str, it: Container) -> Iterator[Found]:
    memory = it.mem_limit
    deploy = cast("Service", it).deploy if hasattr(it, "deploy") else None  # a job has none
    if deploy is not None and deploy.resources is not None:
        limits = deploy.resources.limits
        memory = memory or (limits.memory if limits else None)
    swap = it.memswap_limit
    if swap:
        at = f"{path}.memswap_limit"
        if not memory:
            yield at, "has no meaning without mem_limit", "it is memory and swap together"
        elif 0 < swap < memory:
            yield at, "is smaller than mem_limit", "it is memory and swap together"
    if it.cpus and it.cpu_quota and it.cpu_quota > 0:
        yield f"{path}.cpu_quota", "contradicts cpus", "set one of the two"


def _grants(project: Project, without: frozenset[str], path: str, it: Container) -> Iterator[Found]:
    for kind, grants, known in (
        ("secrets", it.secrets, project.secrets),
        ("configs", it.configs, project.configs),
    ):
        for number, grant in enumerate(grants):
            if grant.source not in known and grant.source not in without:
                yield f"{path}.{kind}[{number}]", f"no such entry in {kind}: {grant.source!r}", None
    for number, mount in enumerate(it.volumes):
        name = mount.source
        if mount.type == "volume" and name and name not in without and name not in project.volumes:
            yield f"{path}.volumes[{number}]", f"no such volume: {name!r}", None
        elif mount.type == "bind" and not name:
            yield f"{path}.volumes[{number}]", "a bind mount needs a source", None


def _extension(path: str, it: Container) -> Iterator[Found]:
    extension = it.x_gocker
    if extension is None:
        return
    at = f"{path}.x-gocker"
    if extension.ready is not None and it.healthcheck is not None and it.healthcheck.enabled:
        yield f"{at}.ready", "contradicts healthcheck", "remove one of the two"
    if extension.ready is not None and extension.ready.port and it.network_mode != "host":
        hint = "use ready.log or a healthcheck, or network_mode: host"
        yield f"{at}.ready.port", "asks on the host, where the container is not", hint
    wanted = extension.artifacts.paths if extension.artifacts is not None else ()
    reports = extension.reports.junit if extension.reports is not None else ()
    for key, globs in (("artifacts.paths", wanted), ("reports.junit", reports)):
        for number, glob in enumerate(globs):
            if not glob.startswith("/") or ".." in glob.split("/"):
                yield (
                    f"{at}.{key}[{number}]",
                    f"{glob!r} is not an absolute path without '..'",
                    None,
                )
    if extension.rootfs is not None and it.image is not None:
        yield f"{at}.rootfs", "contradicts image", "remove one of the two"
    if extension.ready is not None and extension.ready.log is not None:
        yield from _regular_expression(f"{at}.ready.log", extension.ready.log)


def _regular_expression(path: str, pattern: str) -> Iterator[Found]:
    try:
        re.compile(pattern)
    except re.error as err:
        yield path, f"not a regular expression: {err}", None


def _restart(path: str, service: Service, role: str) -> Iterator[Found]:
    deploy = service.deploy
    policy = deploy.restart_policy if deploy is not None else None
    if role == "job":
        hint = "use on-failure:N or x-gocker.retry; if it serves others, x-gocker.role: support"
        if policy is not None and policy.condition == "any":
            at = f"{path}.deploy.restart_policy"
            yield at, "condition any never lets a job end", hint
        elif policy is None and service.restart in {"always", "unless-stopped"}:
            at = f"{path}.restart"
            yield at, f"restart: {service.restart} never lets a job end", hint


def _hooks(path: str, service: Service) -> Iterator[Found]:
    hint = "give the service what it needs (cap_add)"
    for kind, hooks in (("post_start", service.post_start), ("pre_stop", service.pre_stop)):
        for number, hook in enumerate(hooks):
            at = f"{path}.{kind}[{number}]"
            if hook.privileged:
                yield f"{at}.privileged", "a hook never gets more than the container has", hint
            if not hook.command:
                yield f"{at}.command", "no program", None


def _names(path: str, service: Service) -> Iterator[Found]:
    if service.container_name is not None:
        if service.replicas > 1:
            yield f"{path}.container_name", "a fixed name forbids replicas", None
        if service.x_gocker is not None and service.x_gocker.matrix is not None:
            yield f"{path}.container_name", "a fixed name forbids a matrix", None
