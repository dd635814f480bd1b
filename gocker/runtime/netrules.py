"""The nftables rules of a project as text: one transaction for its namespace, one for the host.

Nothing here touches the kernel. What is allowed is said; the rest is dropped.

On the host there is one table for each IP version, with one link (``gk…``) and one address of
the project's (`Link`). A connection to a published port goes from the host's address to a port
of the link's address (the host's table), from there to the container (the project's table).

A host that does not forward (``net.ipv4.ip_forward`` 0) is left so: what would have to be
forwarded from one of its interfaces is sent on by ``dup``, the rest comes from our own link,
which forwards for itself.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# Cloud machines tell secrets to whoever asks at a link-local address.
LINK_LOCAL = "169.254.0.0/16"
OUT = "out"  # the namespace's end of the link
TABLE = "gocker"


class Link:
    """The way between a project's namespace and the host, for one IP version."""

    __slots__ = ("forwarded", "host", "name", "project", "version")

    def __init__(
        self, name: str, version: int, host: str, project: str, *, forwarded: bool
    ) -> None:
        self.name = name
        self.version = version
        self.host = host
        self.project = project
        # Whether the host forwards what arrives at its own interfaces.
        self.forwarded = forwarded


class Published:
    """A port of the host that leads to a container. `number`: its port on the link's address."""

    __slots__ = ("address", "host", "number", "port", "protocol", "target")

    def __init__(
        self, protocol: str, host: str, port: int, address: str, target: int, number: int
    ) -> None:
        self.protocol = protocol
        self.host = host
        self.port = port
        self.address = address
        self.target = target
        self.number = number

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.address else 4

    @property
    def wildcard(self) -> bool:
        """Whether every address of the host is meant."""
        return self.host in ("0.0.0.0", "::")  # compared, not bound


def _to(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def host_table(
    name: str, link: Link, ports: Iterable[Published], *, access: bool, owner: bool
) -> str:
    """Return the table of one IP version on the host.

    Args:
        name: the table's.
        link: the project's.
        ports: what is published, of any version.
        access: whether containers may connect to the host itself.
        owner: whether the table is to vanish with its maker.
    """
    ip = "ip" if link.version == 4 else "ip6"
    mine = [port for port in ports if port.version == link.version]
    loopback = "127.0.0.0/8" if link.version == 4 else "::1"
    gate, there, here = f'"{link.name}"', link.project, link.host
    raw = [
        # The link alone has route_localnet: nobody behind it may use that.
        f"iifname {gate} {ip} daddr {loopback} drop",
        # Direct routing: containers are reached through published ports only.
        f"iifname != {gate} {ip} daddr {there} drop",
    ]
    before, output = [], []
    for port in mine:
        match = f"{port.protocol} dport {port.port}"
        at = f"fib daddr type local {match}" if port.wildcard else f"{ip} daddr {port.host} {match}"
        # moby#41872: a neighbour must not reach what is published on the loopback address.
        raw.append(f'iifname != "lo" {ip} daddr {loopback} {match} drop')
        if not link.forwarded:
            raw.append(f'iifname != {{ {gate}, "lo" }} {at} dup to {there} device {gate} drop')
        to = f"dnat to {_to(there, port.number)}"
        before.append(f"{at} {to}")
        output.append(f"{at} {to}")
    replies = []
    if not link.forwarded:
        replies.append(f"iifname != {gate} {ip} daddr {there} ct direction reply "
                       f"dup to {there} device {gate} drop")  # fmt: skip
    after = [
        f"oifname {gate} {ip} saddr {loopback} snat to {here}",
        # A container that connects to a port its own project published.
        f"oifname {gate} {ip} saddr {there} snat to {here}",
        f"oifname != {gate} {ip} saddr {there} masquerade",
    ]
    into = [f"iifname {gate} ct state established,related accept"]
    if link.version == 6:
        into.append(
            f"iifname {gate} icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept"
        )
    if not access:
        into.append(f"iifname {gate} drop")
    onward = [f"oifname {gate} ct state new ct status & dnat == 0 iifname != {gate} drop"]
    if not link.forwarded:
        onward = []
    chains = (
        ("raw", "filter", "prerouting", -300, raw),
        ("replies", "filter", "prerouting", -50, replies),
        ("before", "nat", "prerouting", -100, before),
        ("output", "nat", "output", -100, output),
        ("after", "nat", "postrouting", 100, after),
        ("input", "filter", "input", 0, into),
        ("forward", "filter", "forward", 0, onward),
    )
    return _table(ip, name, chains, ["flags owner"] if owner else [])


def project_tables(
    networks: list[dict[str, Any]], ports: list[Published], links: list[Link]
) -> str:
    """Return the tables of the project's own namespace."""
    bridges = [network for network in networks if network.get("bridge")]
    return _routing(bridges, ports, links) + _guard()


def _routing(networks: list[dict[str, Any]], ports: list[Published], links: list[Link]) -> str:
    names = ", ".join(f'"{network["bridge"]}"' for network in networks)
    forward = ["ct state established,related accept", "ct state invalid drop"]
    after = []
    for network in networks:
        bridge = f'"{network["bridge"]}"'
        forward.append(f"iifname {bridge} oifname {bridge} {_verdict(network)}")
        if network["internal"]:
            continue
        forward.append(f'iifname {bridge} oifname "{OUT}" ip daddr {LINK_LOCAL} '
                       f"{_except(links)}reject with icmpx admin-prohibited")  # fmt: skip
        forward.append(f'iifname {bridge} oifname "{OUT}" accept')
        if network["masquerade"]:
            for subnet in network["subnets"]:
                ip = "ip6" if ":" in subnet else "ip"
                after.append(f'oifname "{OUT}" {ip} saddr {subnet} masquerade')
    forward.append(f'iifname "{OUT}" ct status dnat accept')
    if names:
        # An answer at once: one network of a project is not to wait for another in vain.
        forward.append(f"iifname {{ {names} }} reject with icmpx admin-prohibited")
    here = [
        'iifname "lo" accept', "ct state established,related accept",
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
        "icmp type echo-request accept", "icmpv6 type echo-request accept",
    ]  # fmt: skip
    if names:
        here.append(f"iifname {{ {names} }} meta l4proto {{ tcp, udp }} th dport 53 accept")
        here.append(f"iifname {{ {names} }} reject with icmpx port-unreachable")
    before = []
    by_version = {link.version: link for link in links}
    for port in ports:
        ip = "ip6" if port.version == 6 else "ip"
        link = by_version[port.version]
        to = f"dnat {ip} to {_to(port.address, port.target)}"
        at = f'iifname "{OUT}" {ip} daddr'
        before.append(f"{at} {link.project} {port.protocol} dport {port.number} {to}")
        if not link.forwarded:
            there = f"!= {link.project}" if port.wildcard else port.host
            before.append(f"{at} {there} {port.protocol} dport {port.port} {to}")
    chains = (
        ("forward", "filter", "forward", 0, forward),
        ("input", "filter", "input", 0, here),
        ("before", "nat", "prerouting", -100, before),
        ("after", "nat", "postrouting", 100, after),
    )
    return _table("inet", TABLE, chains, [], drop=("forward", "input"))


def _verdict(network: dict[str, Any]) -> str:
    return "accept" if network["icc"] else "drop"


def _except(links: list[Link]) -> str:
    """The host's end of the link is link-local, too."""
    return "".join(f"ip daddr != {link.host} " for link in links if link.version == 4)


def _guard() -> str:
    """Return what binds every bridge port to its MAC and IP addresses (security.md F5).

    ``names`` have no address to check: an IPv6 neighbour that asks for itself, DHCP.
    """
    return f"""table bridge {TABLE} {{
 set macs {{
  type ifname . ether_addr
 }}
 set addresses4 {{
  type ifname . ipv4_addr
 }}
 set addresses6 {{
  type ifname . ipv6_addr
 }}
 chain guard {{
  type filter hook prerouting priority -300
  policy accept
  iifname . ether saddr != @macs drop
  ether type arp iifname . arp saddr ip != @addresses4 drop
  ether type arp iifname . arp saddr ether != @macs drop
  ether type ip iifname . ip saddr != @addresses4 drop
  icmpv6 type {{ nd-router-advert, nd-redirect }} drop
  ip6 saddr :: icmpv6 type nd-neighbor-solicit accept
  ip6 saddr :: icmpv6 type mld2-listener-report accept
  ether type ip6 iifname . ip6 saddr != @addresses6 drop
  ether type != {{ ip, ip6, arp }} drop
 }}
}}
"""


def guard_elements(verb: str, port: str, mac: str, addresses: Iterable[str]) -> str:
    """Return what adds (or deletes) a bridge port's addresses to the guard."""
    found = [f'{verb} element bridge {TABLE} macs {{ "{port}" . {mac} }}']
    for address in addresses:
        kind = "addresses6" if ":" in address else "addresses4"
        found.append(f'{verb} element bridge {TABLE} {kind} {{ "{port}" . {address} }}')
    return "\n".join(found) + "\n"


def _table(
    family: str, name: str, chains: Iterable[tuple[str, str, str, int, list[str]]],
    head: list[str], drop: tuple[str, ...] = (),
) -> str:  # fmt: skip
    lines = [f"table {family} {name} {{", *(f" {line}" for line in head)]
    for chain, kind, hook, priority, rules in chains:
        if not rules and chain not in drop:
            continue
        lines += [f" chain {chain} {{", f"  type {kind} hook {hook} priority {priority}",
                  f"  policy {'drop' if chain in drop else 'accept'}"]  # fmt: skip
        lines += [f"  {rule}" for rule in rules]
        lines.append(" }")
    return "\n".join([*lines, "}", ""])
