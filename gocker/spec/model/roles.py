"""Which services decide the result of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gocker.spec.model.project import Project
    from gocker.spec.model.service import Service

Role = Literal["job", "support"]


def never_ends(service: Service) -> bool:
    """Return whether a service is to be restarted whatever its end was."""
    policy = service.deploy.restart_policy if service.deploy is not None else None
    if policy is not None:
        return policy.condition == "any"
    return service.restart in ("always", "unless-stopped")


def roles(project: Project, *, detached: bool = False) -> dict[str, Role]:
    """Return the role of each service and each job.

    A service that others wait for only until it is started or healthy supports them; every
    other one runs to completion and decides the result, unless its restart policy says that it
    never ends (``always``, ``unless-stopped``, ``any``). In a `detached` project, whose result
    nobody waits for, only those are jobs whose end others wait for or that have a matrix.
    ``x-gocker.role`` overrides, and entries of ``jobs`` are jobs.
    """
    conditions: dict[str, set[str]] = {}
    for it in (*project.services.values(), *project.jobs.values()):
        for name, dependency in it.depends_on.items():
            conditions.setdefault(name, set()).add(dependency.condition)
    result: dict[str, Role] = dict.fromkeys(project.jobs, "job")
    for name, service in project.services.items():
        awaited = conditions.get(name, set())
        has_matrix = service.x_gocker is not None and service.x_gocker.matrix is not None
        serves = awaited or never_ends(service) or (detached and not has_matrix)
        serves = serves and "service_completed_successfully" not in awaited
        role = service.x_gocker.role if service.x_gocker is not None else None
        result[name] = role or ("support" if serves else "job")
    return result
