"""What is wrong with the networks of a spec, each mistake with its path. Before anything starts."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from itertools import combinations

from gocker.network import options
from gocker.spec.model.roles import network_mode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gocker.network.ipam import Subnet
    from gocker.spec.model.network import Network, Pool, Port
    from gocker.spec.model.project import Project
    from gocker.spec.model.service import Container as Service

    Found = tuple[str, str, str | None]

_DRIVERS = ("bridge", "default", "none", "host", "macvlan")
_MODES = "none, host, bridge, service:NAME or container:NAME"
_MAC = re.compile(r"[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}")
_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")
_EXPOSE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?")


def problems(project: Project) -> Iterator[Found]:
    """Yield path, message and hint of each mistake."""
    for key, network in project.networks.items():
        yield from _network(f"networks.{key}", network)
    yield from _overlaps(project)
    for path, service in _services(project):
        yield from _service(path, service, project)
    yield from _taken_addresses(project)
    yield from _taken_ports(project)
    yield from _taken_names(project)


def _services(project: Project) -> Iterator[tuple[str, Service]]:
    for section in ("services", "jobs"):
        for name, service in getattr(project, section).items():
            yield f"{section}.{name}", service


# -- networks --------------------------------------------------------------------------------------


def _network(path: str, network: Network) -> Iterator[Found]:
    driver = network.driver or "bridge"
    if driver not in _DRIVERS:
        yield f"{path}.driver", f"unknown driver {driver!r}", "bridge, none, host or macvlan"
        return
    if network.external:
        remedy = "services of one spec can share a network; between projects publish a port"
        yield f"{path}.external", "not built yet: networks between projects", remedy
    if not (network.enable_ipv4 or network.enable_ipv6):
        yield path, "enable_ipv4 and enable_ipv6 are both off: no address is left", None
    for option, message, hint in options.problems(network):
        yield f"{path}.driver_opts{option and '.'}{option}", message, hint
    pools = network.ipam.config if network.ipam is not None else ()
    for number, pool in enumerate(pools):
        yield from _pool(f"{path}.ipam.config[{number}]", pool, network)
    if driver == "macvlan" and not any(pool.subnet for pool in pools):
        hint = "set ipam.config with the subnet and gateway of the parent's network"
        yield path, "macvlan needs a subnet", hint


def _pool(path: str, pool: Pool, network: Network) -> Iterator[Found]:
    subnet_text, gateway, range_text = pool.subnet, pool.gateway, pool.ip_range
    reserved = pool.aux_addresses
    if subnet_text is None:
        if gateway or range_text or reserved:
            yield path, "needs a subnet", "as subnet: 10.1.2.0/24"
        return
    try:
        subnet = ip_network(subnet_text)
    except ValueError as error:
        yield f"{path}.subnet", f"not a subnet: {error}", _right_subnet(subnet_text)
        return
    if subnet.version == 6 and not network.enable_ipv6:
        yield f"{path}.subnet", "an IPv6 subnet, but enable_ipv6 is off", "set enable_ipv6: true"
    if subnet.version == 4 and not network.enable_ipv4:
        yield f"{path}.subnet", "an IPv4 subnet, but enable_ipv4 is off", None
    if subnet.is_loopback or subnet.is_multicast:
        yield f"{path}.subnet", f"{subnet} is reserved for other uses", None
    named = [("gateway", gateway)] if gateway else []
    named += [(f"aux_addresses.{name}", address) for name, address in reserved.items()]
    for key, address in named:
        yield from _address(f"{path}.{key}", address, [subnet])
    if range_text:
        yield from _range(f"{path}.ip_range", range_text, subnet)


def _range(path: str, text: str, subnet: Subnet) -> Iterator[Found]:
    try:
        found = ip_network(text)
    except ValueError as error:
        yield path, f"not a range of addresses: {error}", _right_subnet(text)
        return
    if found.version != subnet.version or not found.subnet_of(subnet):  # type: ignore[arg-type]  # of one version
        yield path, f"{found} is not part of the subnet {subnet}", None


def _right_subnet(text: str) -> str | None:
    try:
        return f"perhaps {ip_network(text, strict=False)}"
    except ValueError:
        return "as 10.1.2.0/24"


def _address(path: str, text: str, subnets: list[Subnet]) -> Iterator[Found]:
    try:
        address = ip_address(text)
    except ValueError:
        yield path, f"{text!r} is no IP address", None
        return
    same = [it for it in subnets if it.version == address.version]
    subnet = next((it for it in same if address in it), None)
    if subnet is None:
        where = " or ".join(str(it) for it in subnets) or "any subnet that the spec names"
        yield path, f"{address} is not in {where}", None
    elif address.version == 4 and subnet.num_addresses > 2 and address in (
        subnet.network_address, subnet.broadcast_address,
    ):  # fmt: skip
        yield path, f"{address} is the network's or the broadcast address of {subnet}", None


def _overlaps(project: Project) -> Iterator[Found]:
    subnets = [
        (f"networks.{key}.ipam.config[{number}].subnet", subnet)
        for key, network in project.networks.items()
        for number, subnet in _subnets(network)
    ]
    for (first, one), (second, two) in combinations(subnets, 2):
        if one.version == two.version and one.overlaps(two):
            yield second, f"{two} overlaps {one} of {first}", "containers could not tell them apart"


def _subnets(network: Network) -> Iterator[tuple[int, Subnet]]:
    for number, pool in enumerate(network.ipam.config if network.ipam is not None else ()):
        try:
            yield number, ip_network(pool.subnet or "")
        except ValueError:
            continue  # said by `_pool`


# -- services --------------------------------------------------------------------------------------


def _service(path: str, service: Service, project: Project) -> Iterator[Found]:
    how = network_mode(service, project)
    yield from _mode(path, service, project, how)
    for number, link in enumerate(service.links):
        name, _, alias = link.partition(":")
        at = f"{path}.links[{number}]"
        if name not in project.services and name not in project.jobs:
            yield at, f"there is no service {name!r}", None
        elif alias and _NAME.fullmatch(alias) is None:
            yield at, f"{alias!r} cannot be a name in the DNS", None
        elif not _meet(service, project.services.get(name) or project.jobs[name]):
            yield at, f"shares no network with {name!r}", "connect both to one"
    for number, text in enumerate(service.expose):
        if not _exposed(text):
            yield f"{path}.expose[{number}]", f"{text!r} is no port", "as 80, 8000-8010 or 53/udp"
    for number, port in enumerate(service.ports):
        yield from _port(f"{path}.ports[{number}]", port, service)
    if service.mac_address is not None:
        yield from _mac(f"{path}.mac_address", service.mac_address)
    for key in service.networks:
        yield from _use(f"{path}.networks.{key}", key, service, project)
    yield from _interface_names(path, service)


def _mode(path: str, service: Service, project: Project, how: str) -> Iterator[Found]:
    kind, _, name = how.partition(":")
    if how not in ("", "none", "host", "bridge", "default") and not (
        kind in ("service", "container") and name
    ):
        yield f"{path}.network_mode", f"unknown network mode {how!r}", _MODES
        return
    if kind == "service" and name not in project.services and name not in project.jobs:
        yield f"{path}.network_mode", f"there is no service {name!r}", None
    if kind == "service" and f".{name}" == path[path.index(".") :]:
        yield f"{path}.network_mode", "a service cannot have its own network", None
    alone = how in ("none", "host") or kind in ("service", "container")
    if alone and service.ports:
        hint = f"publish them at {name!r}" if name else None
        yield f"{path}.ports", f"cannot publish ports with network_mode: {how}", hint
    if alone and service.links:
        yield f"{path}.links", f"cannot link with network_mode: {how}", None
    if service.network_mode is not None and service.networks:
        yield f"{path}.networks", f"contradicts network_mode: {how}", None
    drivers = {
        project.networks[key].driver for key in service.networks if key in project.networks
    } & {"none", "host"}
    if drivers and len(service.networks) > 1:
        driver = "none" if "none" in drivers else "host"
        yield f"{path}.networks", f"a network with driver {driver} must be the only one", None


def _meet(one: Service, two: Service) -> bool:
    return not {*(one.networks or ("default",))}.isdisjoint(two.networks or ("default",))


def _exposed(text: str) -> bool:
    found = _EXPOSE.fullmatch(text)
    if found is None:
        return False
    first, last = int(found[1]), int(found[2] or found[1])
    return 1 <= first <= last <= 65535


def _port(path: str, port: Port, service: Service) -> Iterator[Found]:
    if port.host_ip is not None:
        try:
            ip_address(port.host_ip)
        except ValueError:
            yield f"{path}.host_ip", f"{port.host_ip!r} is no IP address", None
    if not port.published:
        return
    first, _, last = port.published.partition("-")
    if not (first.isdecimal() and (not last or last.isdecimal())):
        yield f"{path}.published", f"{port.published!r} is no port", "as 8080 or 8000-8010"
    elif not 0 <= int(first) <= int(last or first) <= 65535:
        yield f"{path}.published", f"{port.published!r} is out of range", "1 to 65535"
    else:
        count, room = getattr(service, "replicas", 1), int(last or first) - int(first) + 1
        if int(first) and count > room:
            hint = f"publish a range, as {first}-{int(first) + count - 1}, or no port at all"
            yield f"{path}.published", f"{count} replicas cannot share {room} port(s)", hint


def _mac(path: str, text: str) -> Iterator[Found]:
    if _MAC.fullmatch(text) is None:
        yield path, f"{text!r} is no MAC address", "as 02:42:ac:11:00:02"
    elif int(text[:2], 16) & 1:
        yield path, f"{text!r} is a multicast address", "the first byte must be even"


def _use(path: str, key: str, service: Service, project: Project) -> Iterator[Found]:
    use, network = service.networks[key], project.networks.get(key)
    if network is None:
        return  # said by `gocker.spec.consistency`
    for option, message, hint in options.endpoint_problems(use):
        yield f"{path}.driver_opts.{option}", message, hint
    for number, alias in enumerate(use.aliases):
        if _NAME.fullmatch(alias) is None:
            yield f"{path}.aliases[{number}]", f"{alias!r} cannot be a name in the DNS", None
    if use.mac_address is not None:
        yield from _mac(f"{path}.mac_address", use.mac_address)
    named = use.interface_name
    if named is not None and (options.INTERFACE.fullmatch(named) is None or named == "lo"):
        hint = "up to 15 characters, no / : % or space"
        yield f"{path}.interface_name", f"{named!r} cannot be an interface's name", hint
    subnets = [subnet for _, subnet in _subnets(network)]
    for version, address in ((4, use.ipv4_address), (6, use.ipv6_address)):
        at = f"{path}.ipv{version}_address"
        if address is None:
            continue
        of_version = [it for it in subnets if it.version == version]
        if not of_version:
            hint = f"give networks.{key} an IPv{version} subnet in ipam.config"
            yield at, "an address of one's own needs a subnet that the spec names", hint
        else:
            yield from _address(at, address, of_version)
        if getattr(service, "replicas", 1) > 1:
            yield at, f"{service.replicas} replicas cannot have one address", None  # type: ignore[attr-defined]  # a service
    for number, text in enumerate(use.link_local_ips):
        try:
            if not ip_address(text).is_link_local:
                yield f"{path}.link_local_ips[{number}]", f"{text} is not link-local", None
        except ValueError:
            yield f"{path}.link_local_ips[{number}]", f"{text!r} is no IP address", None


def _interface_names(path: str, service: Service) -> Iterator[Found]:
    seen: dict[str, str] = {}
    for key, use in service.networks.items():
        name = use.interface_name
        if name and name in seen:
            at = f"{path}.networks.{key}.interface_name"
            yield at, f"{name!r} is the interface of network {seen[name]!r} already", None
        elif name:
            seen[name] = key


# -- what two want ---------------------------------------------------------------------------------


def _taken_addresses(project: Project) -> Iterator[Found]:
    """Tell addresses that two have: services, gateways and reserved ones."""
    taken: dict[tuple[str, str], str] = {}
    for key, network in project.networks.items():
        for number, pool in enumerate(network.ipam.config if network.ipam is not None else ()):
            if pool.gateway:
                taken[key, pool.gateway] = f"the gateway of networks.{key}"
            elif pool.subnet:
                try:
                    first = next(iter(ip_network(pool.subnet).hosts()), None)
                except ValueError:
                    first = None
                if first is not None:
                    taken[key, str(first)] = f"the gateway of networks.{key}"
            for name, address in pool.aux_addresses.items():
                at = f"networks.{key}.ipam.config[{number}].aux_addresses.{name}"
                if (key, address) in taken:
                    yield at, f"{address} is {taken[key, address]} already", None
                taken.setdefault((key, address), f"reserved as {name!r}")
    macs: dict[tuple[str, str], str] = {}
    for path, service in _services(project):
        for key, use in service.networks.items():
            for kind, value, known in (
                ("ipv4_address", use.ipv4_address, taken),
                ("ipv6_address", use.ipv6_address, taken),
                ("mac_address", use.mac_address and use.mac_address.lower(), macs),
            ):  # fmt: skip
                if value is None:
                    continue
                at = f"{path}.networks.{key}.{kind}"
                if (key, value) in known:
                    yield at, f"{value} is {known[key, value]} already", "choose another"
                known.setdefault((key, value), f"that of {path}")


def _taken_ports(project: Project) -> Iterator[Found]:
    """Tell single ports of the host that two want; ranges have room to choose."""
    taken: dict[tuple[str, int], list[tuple[str, str]]] = {}
    for path, service in _services(project):
        for number, port in enumerate(service.ports):
            published = port.published or ""
            if not published.isdecimal() or published == "0":
                continue
            at = f"{path}.ports[{number}]"
            host = port.host_ip or "127.0.0.1"
            others = taken.setdefault((port.protocol, int(published)), [])
            for other, where in others:
                if _collide(host, other):
                    what = f"{host}:{published}/{port.protocol}"
                    yield at, f"{what} is published by {where} already", "choose another port"
                    break
            others.append((host, at))


def _collide(one: str, two: str) -> bool:
    if (":" in one) != (":" in two):
        return False
    return one == two or bool({one, two} & {"0.0.0.0", "::"})  # compared, not bound


def _taken_names(project: Project) -> Iterator[Found]:
    """Tell aliases and container names that are the name of another service in a network.

    Two services may share an alias: they are asked in turn, as replicas are.
    """
    services = dict(_services(project))
    names = {path.partition(".")[2]: path for path in services}
    for path, service in services.items():
        own = path.partition(".")[2]
        for key, use in service.networks.items():
            for number, alias in enumerate(use.aliases):
                other = names.get(alias)
                if other and alias != own and key in (services[other].networks or ("default",)):
                    at = f"{path}.networks.{key}.aliases[{number}]"
                    yield at, f"{alias!r} is the name of another service in {key!r}", None
        fixed = getattr(service, "container_name", None)
        if fixed in names and fixed != own and _meet(service, services[names[fixed]]):
            yield f"{path}.container_name", f"{fixed!r} is the name of another service", None
