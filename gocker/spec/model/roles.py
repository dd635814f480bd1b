"""Which services decide the result of a run, and which have a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gocker.spec.model.project import Project
    from gocker.spec.model.service import Container, Service

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


DEFAULT = "default"


def uses_networks(project: Project, roles: Mapping[str, str]) -> bool:
    """Return whether the project uses networks.

    Compose gives every service one. A batch of jobs that talk to nobody is better off without,
    so a project uses networks if its spec says a word about them, or has a support service:
    whoever waits for it wants to talk to it. Then every service has one, but for those that say
    otherwise.
    """
    if any(_says(key, network) for key, network in project.networks.items()):
        return True
    services = {**project.services, **project.jobs}
    if any(_asks(service) for service in services.values()):
        return True
    return any(
        role == "support" and services[name].network_mode is None for name, role in roles.items()
    )


def _says(key: str, network: object) -> bool:
    """The implicit network has nothing but its name and an empty ``ipam``."""
    if key != DEFAULT:
        return True
    names = ("driver", "driver_opts", "internal", "external", "enable_ipv6", "labels")
    ipam = getattr(network, "ipam", None)
    plain = not any(getattr(network, name) for name in names)
    return not (plain and network.enable_ipv4 and not (ipam and ipam.config))  # type: ignore[attr-defined]  # a record or a model


def _asks(service: Container) -> bool:
    mode = service.network_mode
    if mode is not None:
        return mode not in ("none", "host")
    if service.ports or service.expose or service.links or service.mac_address:
        return True
    return any(key != DEFAULT or _special(use) for key, use in service.networks.items())


def _special(use: object) -> bool:
    names = ("aliases", "ipv4_address", "ipv6_address", "mac_address", "interface_name",
             "priority", "gw_priority", "link_local_ips", "driver_opts")  # fmt: skip
    return any(getattr(use, name) for name in names)


def network_mode(service: Container, project: Project) -> str:
    """Return ``none``, ``host``, ``service:NAME`` …, or ``""`` for networks of the project."""
    if service.network_mode is not None:
        return service.network_mode
    for key in service.networks:
        driver = project.networks[key].driver if key in project.networks else None
        if driver in ("none", "host"):
            return driver
    return ""
