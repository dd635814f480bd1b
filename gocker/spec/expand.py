"""The instances of services with a matrix: names, variables, and each one's service."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from gocker.errors import Problem, SpecError
from gocker.spec import select
from gocker.spec.model import forms
from gocker.spec.model import load as load_model
from gocker.spec.variants import Variants

if TYPE_CHECKING:
    from gocker.spec.load import Loaded
    from gocker.spec.model import Project
    from gocker.spec.model.roles import Role
    from gocker.spec.model.service import Container as Service
    from gocker.spec.nodes import Place

# Names become file, cgroup and host names.
_NAME_LENGTH = 100


class Instance(NamedTuple):
    """One combination of a matrix. `values`: its variables; `service`: made with them.

    `project`: has the volumes, secrets and so on that the service uses.
    """

    name: str
    values: dict[str, str]
    service: Service
    project: Project | None = None


def expand(
    loaded: Loaded, project: Project, roles: Mapping[str, Role]
) -> dict[str, list[Instance]]:
    """Return the instances of each service that has a matrix, in the order of the file.

    Raises:
        SpecError: what is wrong with the first combination in which anything is.
    """
    sections: dict[str, Mapping[str, Service]] = {
        "services": project.services,
        "jobs": project.jobs,
    }
    taken = {name for services in sections.values() for name in services}
    found: dict[str, list[Instance]] = {}
    made: dict[str, dict[str, Any]] = {"services": {}, "jobs": {}}
    origins: dict[str, tuple[str, str, dict[str, str], Loaded]] = {}
    variants = Variants(loaded)
    for section, services in sections.items():
        for name, service in services.items():
            extension = service.x_gocker
            if extension is None or extension.matrix is None:
                continue
            found[name] = []
            for values in forms.expand(extension.matrix):
                instance = _unique(f"{name}-{_suffix(values.values())}", taken)
                try:
                    variant = variants.load(section, name, values)
                except SpecError as error:
                    raise _about(error, lambda path: path, values) from error
                origins[instance] = section, name, values, variant
                model = variant.model[section][name]
                made[section][instance] = _with_role(model, section, roles[name])
                found[name].append(Instance(instance, values, service))
    if not found:
        return found
    whole = _validated(loaded, made, origins)
    everyone = {**whole.services, **whole.jobs}
    return {
        name: [item._replace(service=everyone[item.name], project=whole) for item in instances]
        for name, instances in found.items()
    }


def _suffix(values: Iterable[str]) -> str:
    """Return the values as a part of a name: ``3.11-15``."""
    words = (re.sub(r"[^A-Za-z0-9_.]+", "-", value).strip("-") for value in values)
    return "-".join(word or "empty" for word in words)


def _unique(name: str, taken: set[str]) -> str:
    """Return `name`, cut to its length, with a number if there is one already."""
    name = name[:_NAME_LENGTH]
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    taken.add(free)
    return free


def _with_role(model: dict[str, Any], section: str, role: Role) -> dict[str, Any]:
    """Return the service with the role of its base: nobody depends on an instance by name."""
    if section == "jobs":
        return model
    extension = model.get("x-gocker") or {}
    return {**model, "x-gocker": {**extension, "role": role}}


def _validated(
    loaded: Loaded, made: dict[str, dict[str, Any]],
    origins: dict[str, tuple[str, str, dict[str, str], Loaded]],
) -> Project:  # fmt: skip
    """Return a project with all instances beside the services they depend on."""

    def origin(path: str) -> str | None:
        _, _, rest = path.partition(".")
        fitting = [n for n in origins if rest.startswith(n) and rest[len(n) :][:1] in ("", ".")]
        return max(fitting, key=len, default=None)

    def written(path: str) -> str:
        instance = origin(path)
        if instance is None:
            return path
        section, name, *_ = origins[instance]
        return f"{section}.{name}{path[len(section) + 1 + len(instance) :]}"

    def place(path: str) -> Place:
        instance = origin(path)
        return (loaded if instance is None else origins[instance][3]).place(written(path))

    model = loaded.model | loaded.resources
    for section, services in made.items():
        if services:
            model[section] = {**(model.get(section) or {}), **services}
    try:
        return load_model(select.prune(model), place)
    except SpecError as error:
        first = origin(error.problems[0].path)
        raise _about(error, written, origins[first][2] if first else {}) from error


def _about(error: SpecError, written: Callable[[str], str], values: dict[str, str]) -> SpecError:
    """Return the error with the service's own paths and the combination, each problem once."""
    combination = " ".join(f"{key}={value}" for key, value in values.items())
    seen: dict[tuple[str, int, int, str, str], Problem] = {}
    for it in error.problems:
        path, message = written(it.path), f"{it.message} (with {combination})"
        problem = Problem(it.file, it.line, it.column, path, message, it.hint)
        seen.setdefault((it.file, it.line, it.column, path, it.message), problem)
    return SpecError(list(seen.values()))
