"""Addresses: which subnets networks have, and who has which address. Pure."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from gocker.digest import hexdigest
from gocker.errors import PlanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    from gocker.spec.model.network import Network as Spec

    Subnet = IPv4Network | IPv6Network
    Address = IPv4Address | IPv6Address

# Where subnets come from that no spec names. They may repeat between projects: each has a
# network namespace of its own. 4,094 containers a network, 384 networks a project.
POOLS = ("172.24.0.0/13", "10.192.0.0/12")
POOL_PREFIX = 20


class Space:
    """One subnet of a network, and the addresses in it that are taken."""

    def __init__(
        self, subnet: Subnet, gateway: str | None, given: Subnet | None, reserved: Iterable[str],
        path: str,
    ) -> None:  # fmt: skip
        self.subnet = subnet
        self.path = path
        self.version = subnet.version
        first = int(subnet.network_address)
        last = int(subnet.broadcast_address)
        # Not the network's address and not the broadcast address, where there are such.
        plain = subnet.num_addresses <= 2
        self._first, self._last = (first, last) if plain else (first + 1, last - 1)
        if subnet.version == 6 and not plain:
            self._last = last
        self.gateway = ip_address(gateway) if gateway else ip_address(self._first)
        self._taken = {int(self.gateway)} | {int(ip_address(it)) for it in reserved}
        pool = given or subnet
        self._next = max(self._first, int(pool.network_address))
        self._end = min(self._last, int(pool.broadcast_address))

    def take(self, address: str) -> str:
        """Reserve an address that a spec names; the check has seen to it that it is free."""
        self._taken.add(int(ip_address(address)))
        return f"{ip_address(address)}/{self.subnet.prefixlen}"

    def free(self, who: str) -> str:
        """Return the next free address.

        Raises:
            PlanError: if there is none.
        """
        while self._next in self._taken:
            self._next += 1
        if self._next > self._end:
            raise PlanError(
                f"{self.subnet} has no address left for {who!r}",
                hint="give the network a larger subnet or ip_range", path=self.path,
            )  # fmt: skip
        found = type(self.gateway)(self._next)
        self._next += 1
        return f"{found}/{self.subnet.prefixlen}"

    @property
    def own(self) -> str:
        """The network's own address, with the length of its prefix."""
        return f"{self.gateway}/{self.subnet.prefixlen}"


def spaces(project: str, networks: dict[str, Spec]) -> dict[str, list[Space]]:
    """Return the subnets of each network, IPv4 first: those of the spec, then chosen ones.

    Raises:
        PlanError: if no subnet is left to choose.
    """
    found = {key: list(_given(key, network)) for key, network in networks.items()}
    taken = [space.subnet for each in found.values() for space in each]
    choice = _choice(taken)
    for key, network in networks.items():
        path = f"networks.{key}"
        has = {space.version for space in found[key]}
        if network.enable_ipv4 and 4 not in has:
            subnet = next(choice, None)
            if subnet is None:
                raise PlanError("no IPv4 subnet is left", hint="give it ipam.config", path=path)
            found[key].append(Space(subnet, None, None, (), path))
        if network.enable_ipv6 and 6 not in has:
            found[key].append(Space(_unique_local(project, key), None, None, (), path))
        found[key].sort(key=lambda space: space.version)
    return found


def _given(key: str, network: Spec) -> Iterator[Space]:
    pools = network.ipam.config if network.ipam is not None else ()
    for number, pool in enumerate(pools):
        if pool.subnet is None:
            continue
        subnet = ip_network(pool.subnet)
        if subnet.version == 4 and not network.enable_ipv4:
            continue
        given = ip_network(pool.ip_range) if pool.ip_range else None
        path = f"networks.{key}.ipam.config[{number}]"
        yield Space(subnet, pool.gateway, given, pool.aux_addresses.values(), path)


def _choice(taken: list[Subnet]) -> Iterator[Subnet]:
    for pool in POOLS:
        for subnet in ip_network(pool).subnets(new_prefix=POOL_PREFIX):
            if not any(subnet.version == it.version and subnet.overlaps(it) for it in taken):
                yield subnet


def _unique_local(project: str, key: str) -> Subnet:
    """Return a subnet of RFC 4193 whose 40 bits of chance are the names'."""
    bits = hexdigest(f"{project}/{key}".encode())
    return ip_network(f"fd{bits[:2]}:{bits[2:6]}:{bits[6:10]}:{bits[10:14]}::/64")


def mac(*names: str) -> str:
    """Return a locally administered address that the names determine."""
    bits = hexdigest("/".join(names).encode())
    return ":".join(["02", *(bits[at : at + 2] for at in range(0, 10, 2))])
