"""Containers' network namespaces: made ahead, with their interfaces, addresses and routes."""

from __future__ import annotations

import _socket as socket
import os

from gocker.errors import HostError
from gocker.linux import netlink
from gocker.linux.netlink import Netlink
from gocker.linux.nftables import Nftables
from gocker.runtime import addresses, netrules, netspace, sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.runtime import slirp
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
        uplink: Uplink | slirp.Uplink,
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

    def connect(self, message: Message) -> tuple[str, dict[str, Any]]:
        """Connect a running container to one more network; return its key and endpoint.

        Raises:
            HostError: if it or the network is not there, or the address is taken.
        """
        key = self._key(message["unit"])
        name = message["network"]
        network, container = self._networks.get(name), self._containers[key]
        if network is None:
            known = ", ".join(self._networks)
            raise HostError(f"this project has no network {name!r}", hint=f"there are: {known}")
        if name in container.ports:
            raise HostError(f"{message['unit']!r} is connected to {name!r} already")
        endpoint = {
            "network": name,
            "interface": f"eth{container.next_index - _FIRST_IN_CONTAINER}",
            "mac": ":".join(["02", *(f"{byte:02x}" for byte in os.urandom(5))]),
            "addresses": self._free(network, message.get("addresses") or []),
            "gateways": [],
        }
        with netspace.On(container.fd, self._home):
            inside = Netlink()
            try:
                self._connect(container, endpoint, inside)
            finally:
                inside.close()
        return key, endpoint

    def disconnect(self, message: Message) -> str:
        """Take a running container off a network; return its key.

        Raises:
            HostError: if it is not on it.
        """
        key = self._key(message["unit"])
        found = self._containers[key].ports.pop(message["network"], None)
        if found is None:
            raise HostError(f"{message['unit']!r} is not connected to {message['network']!r}")
        self._netlink.send(netlink.delete_link(found[0]))
        self._rules.run(netrules.guard_elements("delete", *found))
        return key

    def show(self) -> list[dict[str, Any]]:
        """Return what each container has."""
        return [
            {"unit": key.rpartition("/")[0], "network": network, "port": port, "mac": mac,
             "addresses": addresses}
            for key, container in self._containers.items()
            for network, (port, mac, addresses) in container.ports.items()
        ]  # fmt: skip

    def _key(self, unit: str) -> str:
        """Return the key of a unit's container, the newest one."""
        found = [key for key in self._containers if key.rpartition("/")[0] == unit]
        if not found:
            raise HostError(f"{unit!r} has no network of this project, or does not run")
        return found[-1]

    def _free(self, network: dict[str, Any], wanted: list[str]) -> list[str]:
        """Return an address of each of a network's subnets: those that are wanted, or free ones.

        Raises:
            HostError: if there is none, or one that is wanted is taken.
        """
        taken = {it.partition("/")[0] for it in (*network["gateways"], *network["reserved"])}
        taken |= {it for shown in self.show() for it in shown["addresses"]}
        found = []
        for subnet in network["subnets"]:
            mine = [it for it in wanted if (":" in it) == (":" in subnet)]
            address = addresses.choose(subnet, taken, mine[0] if mine else None)
            found.append(f"{address}/{subnet.partition('/')[2]}")
        return found

    def retain(self, keys: set[str]) -> None:
        """Forget all containers but those with these keys."""
        for key in self._containers.keys() - keys:
            self.detach({"key": key})

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
