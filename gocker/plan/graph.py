"""The dependency graph: a stable topological order, cycles by name, and drawings of it."""

from __future__ import annotations

import json
from collections import deque

from gocker.errors import PlanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    from gocker.plan.model import Dependency, Plan, Unit


_SHORT = {
    "service_started": "started",
    "service_healthy": "healthy",
    "service_completed_successfully": "completed",
}


def order(depends: Mapping[str, Collection[str]]) -> list[str]:
    """Return the names, each after all it depends on; otherwise as they were given.

    What can run at the same time stands together (Kahn's algorithm, first in, first out).
    Starts take this order, stops the reverse.

    Args:
        depends: for every name those it depends on.

    Raises:
        PlanError: naming the cycle, or a name that is not there.
    """
    dependents: dict[str, list[str]] = {name: [] for name in depends}
    unmet: dict[str, int] = {}
    for name, wanted in depends.items():
        unmet[name] = len(wanted)
        for other in wanted:
            if other not in dependents:
                raise PlanError(f"{name!r} depends on {other!r}, which does not exist")
            dependents[other].append(name)
    ready = deque(name for name, count in unmet.items() if not count)
    result: list[str] = []
    while ready:
        name = ready.popleft()
        result.append(name)
        for dependent in dependents[name]:
            unmet[dependent] -= 1
            if not unmet[dependent]:
                ready.append(dependent)
    if len(result) < len(depends):
        path = " -> ".join(find_cycle(depends, set(depends).difference(result)))
        raise PlanError(f"dependency cycle: {path}", hint="remove one of these depends_on")
    return result


def find_cycle(depends: Mapping[str, Collection[str]], among: Collection[str]) -> list[str]:
    """Return a cycle as ``[a, b, a]``, where a depends on b.

    Args:
        depends: for every name those it depends on.
        among: names that each depend on another of them, so a walk has to come back.
    """
    name = next(name for name in depends if name in among)
    path: list[str] = []
    seen: dict[str, int] = {}
    while name not in seen:
        seen[name] = len(path)
        path.append(name)
        name = next(other for other in depends[name] if other in among)
    return [*path[seen[name] :], name]


def order_units(units: Mapping[str, Unit]) -> dict[str, Unit]:
    """Return the units in topological order, as `Plan.units` has to be.

    Raises:
        PlanError: a cycle, a required unit that is missing, or a wait for the health of a unit
            without healthcheck.
    """
    for unit in units.values():
        for edge in unit.depends:
            target = units.get(edge.unit)
            if target is None or target.health is not None or target.ready is not None:
                continue
            if edge.condition == "service_healthy":
                raise PlanError(
                    f"{unit.name!r} waits for {edge.unit!r} to be healthy, "
                    "which has no healthcheck",
                    hint=f"give {target.service!r} a healthcheck, or wait for service_started",
                )
    names = order({
        unit.name: {edge.unit: None for edge in unit.depends if edge.required or edge.unit in units}
        for unit in units.values()
    })  # fmt: skip
    return {name: units[name] for name in names}


def services(plan: Plan) -> dict[str, dict[str, Dependency]]:
    """Return the graph of services, in the plan's order: service -> dependency -> an edge.

    The instances of a service have the same edges, so the first one's stand for all.
    """
    graph: dict[str, dict[str, Dependency]] = {}
    for unit in plan.units.values():
        if unit.service not in graph:
            present = (edge for edge in unit.depends if edge.unit in plan.units)
            graph[unit.service] = {plan.units[edge.unit].service: edge for edge in present}
    return graph


def _counts(plan: Plan) -> dict[str, list[Unit]]:
    units: dict[str, list[Unit]] = {}
    for unit in plan.units.values():
        units.setdefault(unit.service, []).append(unit)
    return units


def _edge_label(edge: Dependency) -> str:
    return _SHORT[edge.condition] + ("" if edge.required else ", optional")


def text(plan: Plan) -> str:
    """Return one line per service: its instances, its role and what it waits for."""
    units = _counts(plan)
    lines = []
    for service, edges in services(plan).items():
        times = f" x{len(units[service])}" if len(units[service]) > 1 else ""
        unit = units[service][0]
        when = "" if unit.when == "on_success" else f", {unit.when}"
        waits = ", ".join(f"{name} ({_edge_label(edge)})" for name, edge in edges.items())
        lines.append(f"{service}{times} [{unit.role}{when}]" + (f" <- {waits}" if waits else ""))
    return "\n".join(lines) + "\n"


def mermaid(plan: Plan) -> str:
    """Return a Mermaid flowchart: jobs as boxes, support services rounded, optional edges dotted.

    Nodes are numbered, because names may hold Mermaid's own words and signs.
    """
    units = _counts(plan)
    graph = services(plan)
    numbers = {service: f"s{number}" for number, service in enumerate(graph)}
    lines = ["flowchart LR"]
    for service, number in numbers.items():
        count = len(units[service])
        label = f'"{service}{f" x{count}" if count > 1 else ""}"'
        box = f"([{label}])" if units[service][0].role == "support" else f"[{label}]"
        lines.append(f"    {number}{box}")
    for service, edges in graph.items():
        for name, edge in edges.items():
            arrow = "-->" if edge.required else "-.->"
            label = _SHORT[edge.condition]
            lines.append(f"    {numbers[name]} {arrow}|{label}| {numbers[service]}")
    return "\n".join(lines) + "\n"


def as_json(plan: Plan) -> str:
    """Return every unit with its edges as one JSON object: ``{"project", "units": [...]}``."""
    units: list[dict[str, Any]] = [
        {
            "instance": unit.name,
            "service": unit.service,
            "role": unit.role,
            "when": unit.when,
            "depends_on": [
                {"instance": edge.unit, "condition": edge.condition, "required": edge.required}
                for edge in unit.depends
            ],
        }
        for unit in plan.units.values()
    ]
    return json.dumps({"project": plan.project, "units": units}, indent=2) + "\n"
