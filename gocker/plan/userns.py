"""User namespaces of services: `userns_mode`, `x-gocker.userns`.

With ``auto`` all containers of a project have 65536 ids of the host that nobody else has. Files
keep their owners on disk: layers, binds and volumes are shown with other ids (idmapped mounts).
"""

from __future__ import annotations

from functools import lru_cache

from gocker.digest import hexdigest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker import oci
    from gocker.plan.model import Plan
    from gocker.spec.model.project import Project
    from gocker.spec.model.service import Container as Service

# 1879048192 to 2147352575: above systemd's range for containers (nspawn and homes end at
# 1879048191) and below its foreign ids. Source: systemd, docs/UIDS-GIDS.md.
FIRST = 0x70000000
SIZE = 65536
COUNT = 4094


def is_auto(service: Service, project: Project, *, default: bool = False) -> bool:
    """Return whether a service's containers have a user namespace of their own.

    `default`: what its profile says, if nothing in the spec does.
    """
    wanted = service.userns_mode
    if wanted is None and service.x_gocker is not None:
        wanted = service.x_gocker.userns
    if wanted is None and project.x_gocker is not None:
        wanted = project.x_gocker.userns
    return default if wanted is None else wanted == "auto"


def wanted_range(project: str) -> int:
    """Return which of the COUNT ranges is tried first: one that stays with the project."""
    return int(hexdigest(project.encode())[:8], 16) % COUNT


@lru_cache
def mappings(number: int) -> list[oci.IDMapping]:
    """Return the mapping of a range; the same object for the same range."""
    return [{"containerID": 0, "hostID": FIRST + number * SIZE, "size": SIZE}]


def move(plan: Plan, number: int) -> None:
    """Give a plan another range than the one that was tried first."""
    for made in plan.containers.values():
        linux = made.config["linux"]
        if "uidMappings" in linux:
            linux["uidMappings"] = linux["gidMappings"] = mappings(number)
