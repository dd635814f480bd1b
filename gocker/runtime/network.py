"""A project's network: a process with a namespace that holds bridges, rules and gateways.

The launcher forks it (`fork`) before it has prepared anything itself; the front talks to it
on a socket of its own, and its end of file ends it. With it goes the namespace, with the
namespace everything in it and the link to the host, and with its nftables socket its table on
the host: a SIGKILL leaves nothing. No namespace has a name in the file system.

Requests, each with ``op``, and the events that answer them:

``up``       ``id``, ``networks``, ``ports``, ``access``, ``resolver``: see `_Network.up`;
             -> ``net_up``: ``ports`` that were taken, ``notes``
``attach``   ``key``, ``endpoints``, ``sysctl``: a container's namespace, ready;
             -> ``attached``: ``key``, with the namespace's descriptor
``detach``   ``key``: the container is gone; no answer
``connect``  ``key``, ``endpoint``; ``disconnect``  ``key``, ``network`` -> ``changed``: ``key``
``show``     -> ``shown``: ``rules``, ``links``

An answer to what failed has ``error`` instead.
"""

from __future__ import annotations

import _socket as socket
import os
import signal
from errno import EADDRINUSE, EADDRNOTAVAIL, EEXIST

from gocker.errors import GockerError, HostError, InternalError, SyscallError
from gocker.linux import netlink, process
from gocker.linux.netlink import Netlink
from gocker.linux.nftables import Nftables
from gocker.runtime import netrules
from gocker.runtime.netrules import OUT, Link, Published
from gocker.wire import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.wire import Message

_NAMESPACE = "/proc/thread-self/ns/net"
# Indexes in namespaces of ours: the kernel may have put devices of its own into new ones.
_LO, _OUT, _FIRST_BRIDGE, _FIRST_PORT, _FIRST_IN_CONTAINER = 1, 1000, 2000, 100_000, 1000
# The host's end of every project's link has the same address; `gocker.network.model` has it, too.
HOST4, HOST6, PREFIX6 = "169.254.1.1", "fd67:6f63:6b65:72::1", "fd67:6f63:6b65:72::"
_SLOTS = 40_000


class _Container:
    """A namespace made for a container: its descriptor, and its ports on our bridges."""

    __slots__ = ("fd", "next_index", "ports")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.next_index = _FIRST_IN_CONTAINER
        # Network -> (port, MAC, addresses).
        self.ports: dict[str, tuple[str, str, list[str]]] = {}


class Network:
    """What the process does, request by request. Starts in the host's namespace."""

    def __init__(self, host_namespace: int, names: socket.socket) -> None:
        self._names = names
        self._host_namespace = host_namespace
        self._reserved: list[socket.socket] = []
        self._networks: dict[str, dict[str, Any]] = {}
        self._containers: dict[str, _Container] = {}
        self._serial = 0
        self._links: list[Link] = []
        self._host_rules: Nftables | None = None
        self._tables: list[str] = []
        # The resolver's sockets, each with its network.
        self._listening: list[tuple[socket.socket, str]] = []
        self._namespace: int
        self._netlink: Netlink
        self._rules: Nftables

    def up(self, message: Message) -> dict[str, Any]:
        """Make the project's namespace and everything in it.

        ``id``: names the link and the table on the host; ``networks``: ``key``, ``driver``,
        ``bridge``, ``mac``, ``gateways``, ``subnets``, ``mtu``, ``internal``, ``icc``,
        ``masquerade``, ``parent``; ``ports``: ``protocol``, ``host``, ``first``, ``last``,
        ``address``, ``target``; ``access``: containers may connect to the host itself.

        Raises:
            GockerError: what cannot be had; nothing is left when this process ends.
        """
        published = self._reserve(message["ports"])
        host = Netlink()
        bridges = [item for item in message["networks"] if item["driver"] == "bridge"]
        process.unshare(process.CLONE_NEWNET)
        self._namespace = os.open(_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        self._netlink = Netlink()
        self._rules = Nftables()
        self._be_router()
        messages = [netlink.set_up(_LO)]
        for number, network in enumerate(bridges):
            index = network["index"] = _FIRST_BRIDGE + number
            mac = bytes.fromhex(network["mac"].replace(":", ""))
            messages.append(netlink.bridge(network["bridge"], index, mtu=network["mtu"], mac=mac))
            messages += [netlink.address(index, gateway) for gateway in network["gateways"]]
        self._netlink.send(*messages)
        self._networks = {item["key"]: item for item in message["networks"]}
        if any(not item["internal"] for item in bridges):
            self._lead_out(host, message["id"], bridges)
            self._publish(message, published)
        self._rules.run(netrules.project_tables(bridges, published, self._links))
        self._listen(bridges)
        host.close()
        if self._listening:
            self._resolve(message["networks"])
        return {"ports": [[it.protocol, it.host, it.port, it.address, it.target]
                          for it in published],
                "links": [link.name for link in self._links]}  # fmt: skip

    def _be_router(self) -> None:
        _write("net/ipv4/ip_forward", "1")
        _write("net/ipv6/conf/all/forwarding", "1", needed=False)
        _write("net/ipv4/conf/all/send_redirects", "0")
        _write("net/ipv4/conf/default/send_redirects", "0")
        # Bridged frames are the guard's; br_netfilter would show them to the router's rules, too.
        for kind in ("iptables", "ip6tables", "arptables"):
            _write(f"net/bridge/bridge-nf-call-{kind}", "0", needed=False)

    def _reserve(self, ports: list[dict[str, Any]]) -> list[Published]:
        """Take the published ports on the host: a bound socket keeps others from them.

        Raises:
            HostError: if one is taken, naming it.
        """
        found = []
        for number, wanted in enumerate(ports, 1):
            for port in range(wanted["first"], wanted["last"] + 1):
                try:
                    sock = _bound(wanted["host"], port, wanted["protocol"])
                except OSError as error:
                    if error.errno == EADDRINUSE and port < wanted["last"]:
                        continue
                    raise _taken(wanted, error) from error
                self._reserved.append(sock)
                found.append(Published(
                    wanted["protocol"], wanted["host"], sock.getsockname()[1], wanted["address"],
                    wanted["target"], number,
                ))  # fmt: skip
                break
        return found

    def _lead_out(self, host: Netlink, name: str, bridges: list[dict[str, Any]]) -> None:
        """Make the link to the host, with addresses that no other project has there."""
        gate = f"gk{name}"
        mtu = max(item["mtu"] for item in bridges)
        subnets = [subnet for item in bridges if not item["internal"] for subnet in item["subnets"]]
        versions = sorted({6 if ":" in subnet else 4 for subnet in subnets})
        self._on_host()
        host.send(netlink.veth(gate, OUT, self._namespace, mtu=mtu))
        index = socket.if_nametoindex(gate)
        if 6 not in versions:
            _write(f"net/ipv6/conf/{gate}/disable_ipv6", "1", needed=False)
        self._links = [_link(host, gate, index, name, version) for version in versions]
        self._at_home()
        inside = socket.if_nametoindex(OUT)
        if 6 not in versions:
            _write(f"net/ipv6/conf/{OUT}/disable_ipv6", "1", needed=False)
        messages = [netlink.set_up(inside)]
        for link in self._links:
            length = 32 if link.version == 4 else 128
            messages.append(netlink.address(inside, f"{link.project}/{length}"))
            if link.version == 6:
                messages.append(netlink.route(inside, f"{link.host}/128"))
            messages.append(netlink.route(inside, gateway=link.host, onlink=True))
        self._netlink.send(*messages)

    def _publish(self, message: Message, published: list[Published]) -> None:
        self._on_host()
        try:
            self._host_rules = Nftables()
            name = f"{netrules.TABLE}_{message['id']}"
            owner = self._host_rules.owns
            text = "".join(
                netrules.host_table(name, link, published, access=message["access"], owner=owner)
                for link in self._links
            )
            self._host_rules.run(text)
            if not owner:
                self._tables = [f"delete table {'ip6' if it.version == 6 else 'ip'} {name}\n"
                                for it in self._links]  # fmt: skip
        finally:
            self._at_home()

    def _listen(self, bridges: list[dict[str, Any]]) -> None:
        """Make the resolver's sockets on the gateways."""
        for network in bridges:
            for gateway in network["gateways"]:
                host = gateway.partition("/")[0]
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    sock = socket.socket(netlink.family(host), kind | socket.SOCK_CLOEXEC)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    sock.bind((host, 53))
                    if kind == socket.SOCK_STREAM:
                        sock.listen(64)
                    self._listening.append((sock, network["key"]))

    def _resolve(self, networks: list[dict[str, Any]]) -> None:
        """Start the resolver, in the host's network namespace with sockets of ours."""
        self._on_host()
        try:
            pid, self.resolver = process.clone3(0)
            if pid == 0:
                _be_resolver(self._names, networks, self._listening)
        finally:
            self._at_home()
        for sock, _ in self._listening:
            sock.close()
        self._listening = []

    def _on_host(self) -> None:
        process.setns(self._host_namespace, process.CLONE_NEWNET)

    def _at_home(self) -> None:
        process.setns(self._namespace, process.CLONE_NEWNET)

    # -- containers ------------------------------------------------------------------------------

    def attach(self, message: Message) -> int:
        """Make a container's network namespace; return its descriptor, which stays ours."""
        process.unshare(process.CLONE_NEWNET)
        try:
            fd = os.open(_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
            container = _Container(fd)
            inside = Netlink()
            try:
                inside.send(netlink.set_up(_LO))
                _quiet_ipv6(message["endpoints"])
                for endpoint in message["endpoints"]:
                    self._connect(container, endpoint, inside)
                for name, value in message.get("sysctl", ()):
                    _write(name, value)
            except BaseException:
                os.close(fd)
                raise
            finally:
                inside.close()
        finally:
            self._at_home()
        self._containers[message["key"]] = container
        return fd

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
        self._on_host()
        try:
            self._serial += 1
            name = f"gkm{self._serial}x{os.getpid()}"[:15]
            try:
                parent = socket.if_nametoindex(network["parent"])
            except OSError as error:
                raise HostError(
                    f"network {network['key']!r}: the host has no link {network['parent']!r}",
                    hint="name one of `ip link` in driver_opts.parent",
                ) from error
            host = Netlink()
            try:
                host.send(netlink.macvlan(name, parent, network["mode"], container.fd,
                                          mtu=network["mtu"] or None, mac=mac))  # fmt: skip
            finally:
                host.close()
        finally:
            process.setns(container.fd, process.CLONE_NEWNET)
        index = socket.if_nametoindex(name)
        inside.send(netlink.rename(index, endpoint["interface"]))
        return index

    def connect(self, message: Message) -> None:
        """Connect a running container to one more network."""
        container = self._containers[message["key"]]
        process.setns(container.fd, process.CLONE_NEWNET)
        try:
            inside = Netlink()
            try:
                self._connect(container, message["endpoint"], inside)
            finally:
                inside.close()
        finally:
            self._at_home()

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

    def show(self) -> dict[str, Any]:
        """Return the rules in force, here and on the host, as nft prints them."""
        rules = self._rules.run("list ruleset\n")
        found = ""
        if self._host_rules is not None:
            self._on_host()
            try:
                found = self._host_rules.run("list ruleset\n")
            finally:
                self._at_home()
        return {"rules": rules, "host_rules": found}

    def close(self) -> None:
        """Remove what would not vanish by itself: rules made by the program nft."""
        if self._host_rules is not None and self._tables:
            self._on_host()
            self._host_rules.run("".join(self._tables))


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
        forwarded = _read("net/ipv4/ip_forward") == "1"
        for key, value in (("forwarding", "1"), ("route_localnet", "1"), ("accept_local", "1"),
                           ("send_redirects", "0"), ("rp_filter", "0")):  # fmt: skip
            _write(f"{base}/{gate}/{key}", value)
    else:
        forwarded = _read(f"{base}/all/forwarding") == "1"
        _write(f"{base}/{gate}/accept_ra", "0")
        # Linux 6.17; before, IPv6 leads out of the project only if the host forwards.
        _write(f"{base}/{gate}/force_forwarding", "1", needed=False)
    return Link(gate, version, ours, theirs, forwarded=forwarded)


def _address(slot: int, version: int) -> str:
    """Return the project's address on its link: link-local, where nobody else may give any.

    Not where clouds answer (169.254.169.254).
    """
    if version == 6:
        return f"{PREFIX6}{slot + 2:x}"
    third, fourth = divmod(slot, 250)
    return f"169.254.{third + 2}.{fourth + 2}"


def _has_ipv6(addresses: list[str]) -> bool:
    return any(":" in address for address in addresses)


def _link_local(mac: bytes) -> str:
    """Return the address that the kernel makes of a MAC (RFC 4291, appendix A)."""
    eui = bytes([mac[0] ^ 2, mac[1], mac[2], 0xFF, 0xFE, *mac[3:]])
    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex("fe80000000000000") + eui)


def _quiet_ipv6(endpoints: list[dict[str, Any]]) -> None:
    """Without an IPv6 address no interface speaks IPv6 (CVE-2024-32473)."""
    wanted = any(_has_ipv6(endpoint["addresses"]) for endpoint in endpoints)
    _write("net/ipv6/conf/default/accept_ra", "0", needed=False)
    _write("net/ipv6/conf/default/disable_ipv6", str(int(not wanted)), needed=False)


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
        EADDRNOTAVAIL: "see the host's addresses with `ip address`",
    }
    place = f"{wanted['path']}: " if wanted.get("path") else ""
    return HostError(
        f"{place}cannot publish {where}: {error.strerror}", hint=hints.get(error.errno or 0)
    )


def _write(name: str, value: str, *, needed: bool = True) -> None:
    """Set a sysctl of the network namespace that this process is in."""
    path = f"/proc/sys/{name}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        if needed:
            raise SyscallError("write", error.errno or 0, path) from error


def _read(name: str) -> str:
    try:
        with open(f"/proc/sys/{name}") as file:
            return file.read().strip()
    except OSError:
        return ""


def _be_resolver(
    names: socket.socket, networks: list[dict[str, Any]],
    listening: list[tuple[socket.socket, str]],
) -> None:  # fmt: skip
    """Be the project's resolver. Never returns."""
    code = 1
    try:
        from gocker.runtime.confine import confine
        from gocker.runtime.resolver import Resolver

        process.set_name("gocker-names")
        process.set_title("gocker-names")
        kept = sorted([names.fileno(), *(sock.fileno() for sock, _ in listening)])
        for first, last in zip(
            [3, *(fd + 1 for fd in kept)], [fd - 1 for fd in kept] + [1 << 31], strict=True
        ):
            process.close_range(first, last)
        resolver = Resolver(names, networks, listening)
        confine()
        resolver.serve()
        code = 0
    finally:
        os._exit(code)


class _Server:
    """The loop around `Network`."""

    def __init__(self, connection: Connection, names: socket.socket) -> None:
        self._connection = connection
        fd = os.open(_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        self._network = Network(fd, names)

    def serve(self) -> None:
        """Serve until the front is gone."""
        while True:
            try:
                received = self._connection.receive()
            except ConnectionResetError:
                received = None
            if received is None:
                break
            message, _ = received
            try:
                self._answer(message)
            except BrokenPipeError:
                break
            except GockerError as error:
                self._refuse(message, error)
            except Exception as error:  # a bug must reach the front
                self._refuse(message, InternalError(f"network: {type(error).__name__}: {error}"))
        self._network.close()

    def _answer(self, message: Message) -> None:
        operation, network = message["op"], self._network
        if operation == "up":
            self._connection.send({"event": "net_up", **network.up(message)})
        elif operation == "attach":
            fd = network.attach(message)
            self._connection.send({"event": "attached", "key": message["key"]}, (fd,))
        elif operation == "detach":
            network.detach(message)
        elif operation in ("connect", "disconnect"):
            getattr(network, operation)(message)
            self._connection.send({"event": "changed", "key": message["key"]})
        else:
            self._connection.send({"event": "shown", **network.show()})

    def _refuse(self, message: Message, error: GockerError) -> None:
        answers = {"up": "net_up", "attach": "attached", "show": "shown"}
        event = answers.get(message["op"], "changed")
        try:
            self._connection.send(
                {"event": event, "key": message.get("key"), "error": error.to_wire()}
            )
        except BrokenPipeError:
            pass  # the next receive says so


def main(control: int, names: int) -> None:
    """Serve in a process of its own, a copy of the launcher. Never returns."""
    code = 1
    try:
        for first, last in (
            (3, min(control, names) - 1),
            (min(control, names) + 1, max(control, names) - 1),
            (max(control, names) + 1, 1 << 31),
        ):
            process.close_range(first, last)
        process.prctl(process.PR_SET_PDEATHSIG, signal.SIGKILL)
        process.set_name("gocker-net")
        process.set_title("gocker-net")
        connection = Connection(socket.socket(fileno=control))
        _Server(connection, socket.socket(fileno=names)).serve()
        code = 0
    finally:
        os._exit(code)
