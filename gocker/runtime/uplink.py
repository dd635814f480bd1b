"""What a project has on the host: its link, published ports, and the rules for both.

All of it goes with the project's process: bound sockets keep the ports, the rules belong to the
socket that made them, and the link to the namespace of its other end.
"""

from __future__ import annotations

import _socket as socket
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL, EEXIST

from gocker.errors import HostError, SyscallError
from gocker.linux import netlink
from gocker.linux.netlink import Netlink
from gocker.linux.nftables import Nftables
from gocker.runtime import netrules, netspace, sysctl
from gocker.runtime.netrules import OUT, Link, Published

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The host's end of every project's link has the same address; `gocker.network.model` has it, too.
HOST4, HOST6, PREFIX6 = "169.254.1.1", "fd67:6f63:6b65:72::1", "fd67:6f63:6b65:72::"
_SLOTS = 40_000


class Uplink:
    """The host's side. Made in the host's namespace, which it comes back to for its work."""

    def __init__(self, ports: list[dict[str, Any]]) -> None:
        """Take the published ports.

        Raises:
            HostError: if one is taken, naming it.
        """
        self._host = netspace.current()
        self._netlink = Netlink()
        self._rules: Nftables | None = None
        self._tables: list[str] = []
        self.links: list[Link] = []
        self.published, self._reserved = reserve(ports)

    def on_host(self, home: int) -> netspace.On:
        """Be on the host for a block."""
        return netspace.On(self._host, home)

    def send(self, *messages: netlink.Message) -> None:
        """Send requests to the host's namespace."""
        self._netlink.send(*messages)

    def lead_out(
        self, name: str, networks: list[dict[str, Any]], home: int, inside: Netlink
    ) -> None:
        """Make the link to the host, with an address that no other project has there.

        Args:
            name: hexadecimal digits, part of the link's name.
            networks: those that lead out.
            home: the project's namespace.
            inside: a socket in it.
        """
        gate = f"gk{name}"
        subnets = [subnet for network in networks for subnet in network["subnets"]]
        versions = sorted({6 if ":" in subnet else 4 for subnet in subnets})
        with self.on_host(home):
            mtu = max(network["mtu"] for network in networks)
            self._netlink.send(netlink.veth(gate, OUT, home, mtu=mtu))
            index = socket.if_nametoindex(gate)
            if 6 not in versions:
                sysctl.write(f"net/ipv6/conf/{gate}/disable_ipv6", "1", needed=False)
            self.links = [_link(self._netlink, gate, index, name, it) for it in versions]
        index = socket.if_nametoindex(OUT)
        if 6 not in versions:
            sysctl.write(f"net/ipv6/conf/{OUT}/disable_ipv6", "1", needed=False)
        messages = [netlink.set_up(index)]
        for link in self.links:
            length = 32 if link.version == 4 else 128
            messages.append(netlink.address(index, f"{link.project}/{length}"))
            if link.version == 6:
                messages.append(netlink.route(index, f"{link.host}/128"))
            messages.append(netlink.route(index, gateway=link.host, onlink=True))
        inside.send(*messages)

    def publish(self, name: str, home: int, *, access: bool) -> None:
        """Load the rules of the host, all in one transaction."""
        with self.on_host(home):
            self._rules = Nftables()
            table, owner = f"{netrules.TABLE}_{name}", self._rules.owns
            self._rules.run("".join(
                netrules.host_table(table, link, self.published, access=access, owner=owner)
                for link in self.links
            ))  # fmt: skip
            if not owner:
                self._tables = [f"{'ip6' if it.version == 6 else 'ip'} {table}"
                                for it in self.links]  # fmt: skip

    def show(self, home: int) -> str:
        """Return the host's rules, as nft prints them."""
        if self._rules is None:
            return ""
        with self.on_host(home):
            return self._rules.run("list ruleset\n")

    def close(self) -> None:
        """Remove what would go by itself a moment later, and rules made by the program nft."""
        netspace.enter(self._host)
        if self._rules is not None:
            if self._tables:
                self._rules.run("".join(f"delete table {it}\n" for it in self._tables))
            self._rules.close()
        if self.links:
            self._netlink.send(netlink.delete_link(self.links[0].name))


def reserve(ports: list[dict[str, Any]]) -> tuple[list[Published], list[socket.socket]]:
    """Take published ports on the host: a bound socket keeps others from them.

    Raises:
        HostError: if one is taken, naming it.
    """
    found, reserved = [], []
    for number, wanted in enumerate(ports, 1):
        for port in range(wanted["first"], wanted["last"] + 1):
            try:
                sock = _bound(wanted["host"], port, wanted["protocol"])
            except OSError as error:
                if error.errno == EADDRINUSE and port < wanted["last"]:
                    continue
                raise _taken(wanted, error) from error
            reserved.append(sock)
            found.append(Published(
                wanted["protocol"], wanted["host"], sock.getsockname()[1], wanted["address"],
                wanted["target"], number,
            ))  # fmt: skip
            break
    return found, reserved


def _link(host: Netlink, gate: str, index: int, name: str, version: int) -> Link:
    """Give the link its two addresses; the route to the project's is the reservation.

    The kernel refuses a second route to the same address, so two projects that choose the same
    slot at once cannot both have it.
    """
    first = int(name, 16)
    ours, length = (HOST4, 32) if version == 4 else (HOST6, 128)
    host.send(netlink.address(index, f"{ours}/{length}", prefix_route=False), netlink.set_up(index))
    for attempt in range(_SLOTS):
        slot = (first + attempt) % _SLOTS
        theirs = _address(slot, version)
        try:
            host.send(netlink.route(index, f"{theirs}/{length}"))
            break
        except SyscallError as error:
            if error.errno != EEXIST:
                raise
    else:
        raise HostError("no address is free for another project's link to the host")
    forwarded = True
    base = f"net/ipv{version}/conf"
    if version == 4:
        forwarded = sysctl.read("net/ipv4/ip_forward") == "1"
        for key, value in (("forwarding", "1"), ("route_localnet", "1"), ("accept_local", "1"),
                           ("send_redirects", "0"), ("rp_filter", "0")):  # fmt: skip
            sysctl.write(f"{base}/{gate}/{key}", value)
    else:
        forwarded = sysctl.read(f"{base}/all/forwarding") == "1"
        sysctl.write(f"{base}/{gate}/accept_ra", "0")
        # Linux 6.17; before, IPv6 leads out of the project only if the host forwards.
        sysctl.write(f"{base}/{gate}/force_forwarding", "1", needed=False)
    return Link(gate, version, ours, theirs, forwarded=forwarded)


def _address(slot: int, version: int) -> str:
    """Return the project's address on its link: link-local, where nobody else may give any.

    Not where clouds answer (169.254.169.254).
    """
    if version == 6:
        return f"{PREFIX6}{slot + 2:x}"
    third, fourth = divmod(slot, 250)
    return f"169.254.{third + 2}.{fourth + 2}"


def _bound(host: str, port: int, protocol: str) -> socket.socket:
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    sock = socket.socket(netlink.family(host), kind | socket.SOCK_CLOEXEC)
    try:
        if ":" in host:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _taken(wanted: dict[str, Any], error: OSError) -> HostError:
    first, last = wanted["first"], wanted["last"]
    port = str(first) if first == last else f"{first}-{last}"
    where = f"{wanted['host']}:{port}/{wanted['protocol']}"
    hints = {
        EADDRINUSE: f"see who has it with `ss -lnp`, or publish {wanted['target']} elsewhere",
        EACCES: "an ordinary user publishes ports from 1024 up, or root allows lower ones: "
        f"sysctl -w net.ipv4.ip_unprivileged_port_start={first}",
        EADDRNOTAVAIL: "see the host's addresses with `ip address`",
    }
    place = f"{wanted['path']}: " if wanted.get("path") else ""
    return HostError(
        f"{place}cannot publish {where}: {error.strerror}", hint=hints.get(error.errno or 0)
    )
