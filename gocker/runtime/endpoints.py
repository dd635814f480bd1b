"""Containers' network namespaces: made ahead, with their interfaces, addresses and routes."""

from __future__ import annotations

import _socket as socket
import os

from gocker.errors import HostError
from gocker.linux import netlink
from gocker.linux.netlink import Netlink
from gocker.linux.nftables import Nftables
from gocker.runtime import netrules, netspace, sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.runtime.uplink import Uplink
    from gocker.wire import Message

# Indexes in namespaces of ours: the kernel may have put devices of its own into new ones.
_LO, _FIRST_PORT, _FIRST_IN_CONTAINER = 1, 100_000, 1000


class _Container:
    """A namespace made for a container: its descriptor, and its ports on our bridges."""

    __slots__ = ("fd", "next_index", "ports")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.next_index = _FIRST_IN_CONTAINER
        # Network -> (port, MAC, addresses).
        self.ports: dict[str, tuple[str, str, list[str]]] = {}


class Endpoints:
    """All of a project's. This process is in the project's namespace, `home`."""

    def __init__(
        self, home: int, link: Netlink, rules: Nftables, networks: dict[str, dict[str, Any]],
        uplink: Uplink,
    ) -> None:  # fmt: skip
        self._home = home
        self._netlink = link
        self._rules = rules
        self._networks = networks
        self._uplink = uplink
        self._containers: dict[str, _Container] = {}
        self._serial = 0

    def attach(self, message: Message) -> int:
        """Make a container's network namespace; return its descriptor, which stays ours."""
        container = _Container(netspace.new())
        try:
            inside = Netlink()
            try:
                inside.send(netlink.set_up(_LO))
                _quiet_ipv6(message["endpoints"])
                for endpoint in message["endpoints"]:
                    self._connect(container, endpoint, inside)
                for name, value in message.get("sysctl", ()):
                    sysctl.write(name, value)
            except BaseException:
                os.close(container.fd)
                raise
            finally:
                inside.close()
        finally:
            netspace.enter(self._home)
        self._containers[message["key"]] = container
        return container.fd

    def _connect(self, container: _Container, endpoint: dict[str, Any], inside: Netlink) -> None:
        """Give a container one more interface; this process is in its namespace."""
        network = self._networks[endpoint["network"]]
        mac = bytes.fromhex(endpoint["mac"].replace(":", ""))
        index = container.next_index
        container.next_index += 1
        if network["driver"] == "macvlan":
            index = self._macvlan(network, endpoint, container, inside, mac)
        else:
            self._serial += 1
            port, at = f"c{self._serial}", _FIRST_PORT + self._serial
            self._netlink.send(
                netlink.veth(port, endpoint["interface"], container.fd, index=at, peer_index=index,
                             master=network["index"], mtu=network["mtu"], peer_mac=mac),
                netlink.bridge_entry(at, mac),
            )  # fmt: skip
            hosts = [address.partition("/")[0] for address in endpoint["addresses"]]
            guarded = [*hosts, *(_link_local(mac) for host in hosts[:1] if _has_ipv6(hosts))]
            guarded += [it.partition("/")[0] for it in endpoint.get("link_local", ())]
            self._rules.run(netrules.guard_elements("add", port, endpoint["mac"], guarded))
            container.ports[endpoint["network"]] = (port, endpoint["mac"], guarded)
        messages = [netlink.set_up(index)]
        messages += [netlink.address(index, address) for address in endpoint["addresses"]]
        messages += [netlink.address(index, it) for it in endpoint.get("link_local", ())]
        messages += [netlink.route(index, gateway=gateway) for gateway in endpoint["gateways"]]
        inside.send(*messages)

    def _macvlan(
        self, network: dict[str, Any], endpoint: dict[str, Any], container: _Container,
        inside: Netlink, mac: bytes,
    ) -> int:  # fmt: skip
        """Make a macvlan of one of the host's links; return its index."""
        self._serial += 1
        name = f"gkm{self._serial}x{os.getpid()}"[:15]
        with self._uplink.on_host(container.fd):
            try:
                parent = socket.if_nametoindex(network["parent"])
            except OSError as error:
                raise HostError(
                    f"network {network['key']!r}: the host has no link {network['parent']!r}",
                    hint="name one of `ip link` in driver_opts.parent",
                ) from error
            self._uplink.send(netlink.macvlan(name, parent, network["mode"], container.fd,
                                              mtu=network["mtu"] or None, mac=mac))  # fmt: skip
        index = socket.if_nametoindex(name)
        inside.send(netlink.rename(index, endpoint["interface"]))
        return index

    def connect(self, message: Message) -> None:
        """Connect a running container to one more network."""
        container = self._containers[message["key"]]
        with netspace.On(container.fd, self._home):
            inside = Netlink()
            try:
                self._connect(container, message["endpoint"], inside)
            finally:
                inside.close()

    def disconnect(self, message: Message) -> None:
        """Take a running container off a network."""
        ports = self._containers[message["key"]].ports
        port, mac, addresses = ports.pop(message["network"])
        self._netlink.send(netlink.delete_link(port))
        self._rules.run(netrules.guard_elements("delete", port, mac, addresses))

    def detach(self, message: Message) -> None:
        """Forget a container: its namespace goes when the kernel finds no process in it."""
        container = self._containers.pop(message["key"], None)
        if container is None:
            return
        os.close(container.fd)
        text = "".join(
            netrules.guard_elements("delete", *port) for port in container.ports.values()
        )
        if text:
            self._rules.run(text)


def _has_ipv6(addresses: list[str]) -> bool:
    return any(":" in address for address in addresses)


def _link_local(mac: bytes) -> str:
    """Return the address that the kernel makes of a MAC (RFC 4291, appendix A)."""
    eui = bytes([mac[0] ^ 2, mac[1], mac[2], 0xFF, 0xFE, *mac[3:]])
    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex("fe80000000000000") + eui)


def _quiet_ipv6(endpoints: list[dict[str, Any]]) -> None:
    """Without an IPv6 address no interface speaks IPv6 (CVE-2024-32473)."""
    wanted = any(_has_ipv6(endpoint["addresses"]) for endpoint in endpoints)
    sysctl.write("net/ipv6/conf/default/accept_ra", "0", needed=False)
    sysctl.write("net/ipv6/conf/default/disable_ipv6", str(int(not wanted)), needed=False)
