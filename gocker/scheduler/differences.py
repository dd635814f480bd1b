"""How another plan differs from a running one: which units have to be made anew."""

from __future__ import annotations

from gocker.errors import UsageError
from gocker.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gocker.plan.model import Container, Plan, Unit


def differing(old: Plan, new: Plan) -> set[str]:
    """Return the units of a plan that are made otherwise than those that there are."""
    return {
        name
        for name, unit in new.units.items()
        if name in old.units
        and (
            _own(unit) != _own(old.units[name])
            or _lasting(new.containers[name]) != _lasting(old.containers[name])
        )
    }


def _own(unit: Unit) -> Unit:
    """Return a unit without what is about the units around it, as Compose's hash."""
    return replace(unit, role="job", depends=(), when="on_success", matrix=None)


def _lasting(container: Container) -> Container:
    """Return a container without its addresses, which are the plan's choice.

    Those that the spec asks for stay: they are in `Endpoint.fixed`, too.
    """
    network = container.network
    if network is None or not network.endpoints:
        return container
    endpoints = tuple(replace(it, addresses=(), mac="") for it in network.endpoints)
    return replace(container, network=replace(network, endpoints=endpoints))


def merged(old: Plan, new: Plan, renew: set[str]) -> tuple[Plan, set[str]]:
    """Return the plan to go on with, and the units that are made anew with it.

    Units that are not made anew keep their containers as they are, with their addresses; one
    whose address another one has in the new plan is made anew, too.

    Raises:
        UsageError: the new plan needs other networks or ports than there are.
    """
    _check_networks(old, new)
    renew = set(renew)
    kept = {name for name in new.units if name in old.units and name not in renew}
    while True:
        taken = {
            address for name, container in new.containers.items() if name not in kept
            for address in _addresses(container)
        }  # fmt: skip
        moved = {name for name in kept if not taken.isdisjoint(_addresses(old.containers[name]))}
        if not moved:
            break
        kept -= moved
        renew |= moved
    others = {name: made for name, made in old.containers.items() if name not in new.units}
    containers = others | {
        name: old.containers[name] if name in kept else made
        for name, made in new.containers.items()
    }
    plan = replace(
        new,
        units=old.units | new.units,
        containers=containers,
        matrices=old.matrices | new.matrices,
        network=old.network,
        services=new.services,
    )
    return plan, renew


def _addresses(container: Container) -> Iterator[tuple[str, str]]:
    if container.network is not None:
        for endpoint in container.network.endpoints:
            for address in endpoint.addresses:
                yield endpoint.network, address


def _check_networks(old: Plan, new: Plan) -> None:
    if new.network is None:
        return
    hint = "gocker down, then gocker up"
    if old.network is None:
        raise UsageError("the project has no networks yet, and they come with its start", hint=hint)
    if unknown := set(new.network.networks) - set(old.network.networks):
        names = ", ".join(sorted(it.key for it in unknown))
        raise UsageError(f"networks differ from those there are: {names}", hint=hint)
    targets = {replace(it, address="") for it in old.network.publications}
    further = [it for it in new.network.publications if replace(it, address="") not in targets]
    if further:
        names = ", ".join(sorted({it.unit for it in further}))
        raise UsageError(f"published ports differ from those there are: {names}", hint=hint)
