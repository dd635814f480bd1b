"""Plans of a given size, for tests of scale and benchmarks."""

from __future__ import annotations

from dataclasses import replace

from gocker.plan.model import Dependency, Plan, Unit

COMPLETED = "service_completed_successfully"


def job(name: str, *depends: str) -> Unit:
    edges = tuple(Dependency(other, COMPLETED) for other in depends)
    return Unit(name=name, service=name, image="host:/", depends=edges, timeout_s=600.0)


def _plan(units: list[Unit], parallel: int) -> Plan:
    return Plan("p", {unit.name: unit for unit in units}, parallel=parallel)


def flat(count: int, parallel: int = 16) -> Plan:
    """Independent jobs."""
    return _plan([job(f"j{n}") for n in range(count)], parallel)


def services(count: int) -> Plan:
    """One job, and support services for the whole run."""
    units = [replace(job(f"s{n}"), role="support") for n in range(count - 1)]
    return _plan([job("j"), *units], 16)


def chain(count: int) -> Plan:
    """Each job waits for the one before."""
    return _plan([job(f"j{n}", *([f"j{n - 1}"] if n else [])) for n in range(count)], 16)


def grid(side: int) -> Plan:
    """Each job waits for its neighbours above and to the left."""
    units = []
    for row in range(side):
        for column in range(side):
            above = [f"j{row - 1}.{column}"] if row else []
            left = [f"j{row}.{column - 1}"] if column else []
            units.append(job(f"j{row}.{column}", *above, *left))
    return _plan(units, 16)


def layers(count: int, width: int) -> Plan:
    """Each job of a layer waits for all of the layer before: services with replicas."""
    units = []
    for layer in range(count):
        before = [f"j{layer - 1}.{n}" for n in range(width)] if layer else []
        units += [job(f"j{layer}.{n}", *before) for n in range(width)]
    return _plan(units, 16)
