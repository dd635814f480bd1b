"""The instances of a project's services: combinations of a matrix, and replicas."""

from __future__ import annotations

from typing import NamedTuple

from gocker.errors import PlanError
from gocker.plan.model import MatrixGroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gocker.spec.expand import Instance
    from gocker.spec.model.project import Project
    from gocker.spec.model.service import Container as Service

# What a replica, and an instance of a matrix, finds in its environment.
REPLICA = "GOCKER_REPLICA"
MATRIX = "GOCKER_MATRIX_"


class Made(NamedTuple):
    """An instance to plan: its name, its service, and variables of its own."""

    name: str
    service: Service
    variables: dict[str, str]
    # Has the volumes, secrets and so on of the service.
    project: Project


def instances(
    project: Project, matrices: Mapping[str, Sequence[Instance]] | None = None
) -> dict[str, list[Made]]:
    """Return the instances of every service and job, by its name.

    Raises:
        PlanError: if two have the same name.
    """
    services: dict[str, Service] = {**project.services, **project.jobs}
    made = {
        name: _instances(Made(name, it, {}, project), (matrices or {}).get(name))
        for name, it in services.items()
    }
    seen: set[str] = set()
    for name, items in made.items():
        for item in items:
            if item.name in seen:
                raise PlanError(f"services.{name}: {item.name!r} is the name of two instances",
                                hint="rename one of the services")  # fmt: skip
            seen.add(item.name)
    return made


def _instances(one: Made, matrix: Sequence[Instance] | None) -> list[Made]:
    """Return the instances of a service: its combinations, and the replicas of each."""
    if matrix is None:
        return _replicas(one)
    found = []
    for item in matrix:
        variables = {f"{MATRIX}{key}": value for key, value in item.values.items()}
        found += _replicas(Made(item.name, item.service, variables, item.project or one.project))
    return found


def _replicas(one: Made) -> list[Made]:
    count = getattr(one.service, "replicas", 1)
    if count == 1:
        return [one]
    return [
        one._replace(name=f"{one.name}-{number}", variables={**one.variables, REPLICA: str(number)})
        for number in range(1, count + 1)
    ]


def matrix_groups(project: Project, names: Iterable[str]) -> dict[str, MatrixGroup]:
    """Return the groups of the named services, which have a matrix."""
    services: dict[str, Service] = {**project.services, **project.jobs}
    return {
        name: MatrixGroup(extension.matrix.max_parallel, extension.matrix.fail_fast)
        for name in names
        if (extension := services[name].x_gocker) is not None and extension.matrix is not None
    }
