"""A project's networks, addresses, names and ports, decided before anything starts. Pure."""

from __future__ import annotations

from gocker.errors import PlanError
from gocker.network import ipam, options
from gocker.network.model import Attachment, Endpoint, Network, NetworkPlan, Publication
from gocker.spec.model import records
from gocker.spec.model.roles import DEFAULT, network_mode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gocker.network.ipam import Space
    from gocker.plan.instances import Made
    from gocker.spec.model.network import Port, ServiceNetwork
    from gocker.spec.model.project import Project
    from gocker.spec.model.service import Container as Service

BRIDGE = "bridge"  # the network of ``network_mode: bridge``
LOOPBACK = "127.0.0.1"
ANY = ("0.0.0.0", "::")  # compared, and only said where the spec says it


class Planner:
    """Makes a `NetworkPlan`, and the `Attachment` of every instance."""

    def __init__(self, project: Project, made: Mapping[str, list[Made]]) -> None:
        self._project = project
        self._made = made
        self._uses = dict(self._all_uses())
        keys = {key for uses in self._uses.values() for key in uses}
        specs = {key: project.networks[key] for key in project.networks if key in keys}
        for implicit in (DEFAULT, BRIDGE):
            if implicit in keys and implicit not in specs:
                specs[implicit] = records.read("Network", {"name": f"{project.name}_{implicit}"})
        self._specs = specs
        self._spaces = ipam.spaces(project.name, specs)
        self._networks = {
            key: self._network(number, key) for number, key in enumerate(specs)
        }  # fmt: skip
        self.attachments: dict[str, Attachment] = {}

    def plan(self) -> NetworkPlan:
        """Return the plan; `attachments` is filled then.

        Raises:
            PlanError: with the path of the key in its context.
        """
        self._reserve()
        for name, items in self._made.items():
            for number, item in enumerate(items, 1):
                found = self._attachment(name, item.name, item.service, number)
                if found is not None:
                    self.attachments[item.name] = found
        self._share()
        publications = tuple(self._publications())
        access = any(
            "host-gateway" in addresses
            for items in self._made.values()
            for item in items
            for addresses in item.service.extra_hosts.values()
        )
        return NetworkPlan(tuple(self._networks.values()), publications, access)

    def _all_uses(self) -> Iterator[tuple[str, dict[str, ServiceNetwork]]]:
        """Yield what each service says about each of its networks, in the order of connection."""
        plain = records.read("ServiceNetwork", {})
        for name, items in self._made.items():
            service = items[0].service if items else None
            if service is None:
                continue
            how = network_mode(service, self._project)
            if how == "bridge":
                yield name, {BRIDGE: plain}
            elif not how:
                uses = dict(service.networks) or {DEFAULT: plain}
                order = sorted(uses, key=lambda key: (-uses[key].priority, key))
                yield name, {key: uses[key] for key in order}

    def _network(self, number: int, key: str) -> Network:
        spec, spaces = self._specs[key], self._spaces[key]
        name = spec.name or f"{self._project.name}_{key}"
        chosen = options.of_network(spec)
        driver = spec.driver or "bridge"
        return Network(
            key=key,
            name=name,
            driver="macvlan" if driver == "macvlan" else "bridge",
            bridge=chosen.bridge or f"br{number}",
            mac=ipam.mac(self._project.name, key),
            subnets=tuple(str(space.subnet) for space in spaces),
            gateways=tuple(space.own for space in spaces),
            mtu=chosen.mtu,
            internal=spec.internal,
            external=spec.external,
            icc=chosen.icc,
            masquerade=chosen.masquerade,
            parent=chosen.parent,
            mode=chosen.mode,
        )

    def _reserve(self) -> None:
        """Take the addresses that services name before any other is given."""
        for name, uses in self._uses.items():
            for key, use in uses.items():
                for version, address in ((4, use.ipv4_address), (6, use.ipv6_address)):
                    if address is not None:
                        self._space(name, key, version, address).take(address)

    def _space(self, name: str, key: str, version: int, address: str) -> Space:
        for space in self._spaces[key]:
            if space.version == version and options.inside(address, space.subnet):
                return space
        raise PlanError(
            f"{address} is in no subnet of network {key!r}",
            hint="choose one of " + ", ".join(str(it.subnet) for it in self._spaces[key]),
            path=f"services.{name}.networks.{key}.ipv{version}_address",
        )

    def _attachment(
        self, name: str, instance: str, service: Service, number: int
    ) -> Attachment | None:
        if name not in self._uses:
            return None
        uses = self._uses[name]
        main = max(uses, key=lambda key: (uses[key].gw_priority, not self._specs[key].internal))
        interfaces = _interfaces(uses)
        endpoints = []
        for key, use in uses.items():
            network = self._networks[key]
            addresses = tuple(self._addresses(name, instance, key, use))
            out = key == main and not network.internal
            mac = use.mac_address or (service.mac_address if key == main else None)
            endpoints.append(Endpoint(
                network=key,
                interface=interfaces[key],
                mac=(mac or ipam.mac(self._project.name, key, instance)).lower().replace("-", ":"),
                addresses=addresses,
                gateways=tuple(it.partition("/")[0] for it in network.gateways) if out else (),
                names=tuple(self._names(name, instance, service, use, number)),
                link_local=tuple(f"{it}/{128 if ':' in it else 32}" for it in use.link_local_ips),
                domain=network.name,
                fixed=tuple(filter(None, (use.ipv4_address, use.ipv6_address, mac))),
            ))  # fmt: skip
        return Attachment(
            tuple(endpoints), dns=service.dns, links=tuple(_links(service)),
            sysctl=tuple(options.sysctls(uses, interfaces)),
        )  # fmt: skip

    def _addresses(self, name: str, instance: str, key: str, use: ServiceNetwork) -> Iterator[str]:
        given = {4: use.ipv4_address, 6: use.ipv6_address}
        for version in (4, 6):
            of_version = [space for space in self._spaces[key] if space.version == version]
            if not of_version:
                continue
            address = given[version]
            if address is not None:
                space = self._space(name, key, version, address)
                yield f"{address}/{space.subnet.prefixlen}"
                continue
            for last, space in zip(range(len(of_version) - 1, -1, -1), of_version, strict=True):
                try:
                    found = space.free(instance)
                except PlanError:
                    if not last:
                        raise
                    continue
                yield found
                break

    def _names(
        self, name: str, instance: str, service: Service, use: ServiceNetwork, number: int
    ) -> Iterator[str]:
        """Yield a container's names in a network: its own, its service's, its aliases."""
        fixed = getattr(service, "container_name", None)
        own = [fixed] if fixed else [instance, f"{self._project.name}-{name}-{number}"]
        yield from dict.fromkeys([*own, name, *use.aliases])

    def _share(self) -> None:
        """Let ``service:X`` and ``container:X`` have X's namespace."""
        for name, items in self._made.items():
            for item in items:
                how = network_mode(item.service, self._project)
                kind, _, other = how.partition(":")
                if kind not in ("service", "container"):
                    continue
                unit = self._shared(name, kind, other)
                # Whatever it has: a namespace that two share has to be made before both.
                self.attachments.setdefault(unit, Attachment())
                self.attachments[item.name] = Attachment(share=unit)

    def _shared(self, name: str, kind: str, other: str) -> str:
        path = f"services.{name}.network_mode"
        for service, items in self._made.items():
            for item in items:
                fixed = getattr(item.service, "container_name", None)
                if (kind == "service" and service == other) or (
                    kind == "container" and other in (fixed, item.name)
                ):
                    return item.name
        raise PlanError(f"there is no {kind} {other!r} in this project", path=path)

    # -- ports -----------------------------------------------------------------------------------

    def _publications(self) -> Iterator[Publication]:
        for name, items in self._made.items():
            for item in items:
                for number, port in enumerate(item.service.ports):
                    path = f"services.{name}.ports[{number}]"
                    yield from self._publication(item.name, port, path)

    def _publication(self, unit: str, port: Port, path: str) -> Iterator[Publication]:
        attachment = self.attachments[self.attachments[unit].share or unit]
        outward = [it for it in attachment.endpoints if not self._networks[it.network].internal]
        if not outward:
            raise PlanError(
                f"{unit!r} is on internal networks only: nobody outside can reach a port of it",
                hint="connect it to a network that is not internal, or remove the port", path=path,
            )  # fmt: skip
        main = next((it for it in outward if it.gateways), outward[0])
        by_version = {6 if ":" in it else 4: it.partition("/")[0] for it in main.addresses}
        first, last = port_range(port.published)
        for host in [port.host_ip] if port.host_ip else [LOOPBACK if 4 in by_version else "::1"]:
            version = 6 if ":" in host else 4
            if version not in by_version:
                raise PlanError(
                    f"{unit!r} has no IPv{version} address to publish on {host}",
                    hint=f"set enable_ipv{version} on a network of its, or another host_ip",
                    path=path,
                )  # fmt: skip
            yield Publication(unit, port.protocol, host, first, last, port.target,
                              by_version[version], path)  # fmt: skip


def port_range(published: str | None) -> tuple[int, int]:
    """Return the first and last port of ``8080`` or ``8000-8010``; 0 for none."""
    first, _, last = (published or "0").partition("-")
    return int(first), int(last or first)


def _interfaces(uses: Mapping[str, ServiceNetwork]) -> dict[str, str]:
    """Return the interface's name of each network: the spec's, else ``ethN``."""
    named = {key: use.interface_name for key, use in uses.items() if use.interface_name}
    free = (name for name in map("eth{}".format, range(1000)) if name not in named.values())
    return {key: named.get(key) or next(free) for key in uses}


def _links(service: Service) -> Iterator[tuple[str, str]]:
    for link in service.links:
        name, _, alias = link.partition(":")
        if alias and alias != name:
            yield alias.lower(), name
