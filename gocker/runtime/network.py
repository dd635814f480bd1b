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

from gocker.errors import GockerError, InternalError
from gocker.linux import netlink, process
from gocker.linux.netlink import Netlink
from gocker.linux.nftables import Nftables
from gocker.runtime import netrules, netspace, sysctl
from gocker.runtime.endpoints import Endpoints
from gocker.runtime.uplink import Uplink
from gocker.wire import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.wire import Message

_LO, _FIRST_BRIDGE = 1, 2000


class Network:
    """What the process does, request by request. Starts in the host's namespace."""

    def __init__(self, names: socket.socket) -> None:
        self._names = names
        # The resolver's sockets, each with its network.
        self._listening: list[tuple[socket.socket, str]] = []
        self._uplink: Uplink | None = None
        self._home: int
        self._netlink: Netlink
        self._rules: Nftables
        self.endpoints: Endpoints

    def up(self, message: Message) -> dict[str, Any]:
        """Make the project's namespace and everything in it.

        ``id``: names the link and the table on the host; ``networks``: ``key``, ``driver``,
        ``bridge``, ``mac``, ``gateways``, ``subnets``, ``mtu``, ``internal``, ``icc``,
        ``masquerade``, ``parent``; ``ports``: ``protocol``, ``host``, ``first``, ``last``,
        ``address``, ``target``; ``access``: containers may connect to the host itself.

        Raises:
            GockerError: what cannot be had; nothing is left when this process ends.
        """
        self._uplink = uplink = Uplink(message["ports"])
        bridges = [item for item in message["networks"] if item["driver"] == "bridge"]
        self._home = netspace.new()
        self._netlink, self._rules = Netlink(), Nftables()
        self._be_router()
        messages = [netlink.set_up(_LO)]
        for number, network in enumerate(bridges):
            index = network["index"] = _FIRST_BRIDGE + number
            mac = bytes.fromhex(network["mac"].replace(":", ""))
            messages.append(netlink.bridge(network["bridge"], index, mtu=network["mtu"], mac=mac))
            messages += [netlink.address(index, gateway) for gateway in network["gateways"]]
        self._netlink.send(*messages)
        outward = [item for item in bridges if not item["internal"]]
        if outward:
            uplink.lead_out(message["id"], outward, self._home, self._netlink)
            uplink.publish(message["id"], self._home, access=message["access"])
        self._rules.run(netrules.project_tables(bridges, uplink.published, uplink.links))
        networks = {item["key"]: item for item in message["networks"]}
        self.endpoints = Endpoints(self._home, self._netlink, self._rules, networks, uplink)
        self._listen(bridges)
        if self._listening:
            self._resolve(message["networks"], uplink)
        return {"ports": [[it.protocol, it.host, it.port, it.address, it.target]
                          for it in uplink.published],
                "links": [link.name for link in uplink.links]}  # fmt: skip

    def _be_router(self) -> None:
        sysctl.write("net/ipv4/ip_forward", "1")
        sysctl.write("net/ipv6/conf/all/forwarding", "1", needed=False)
        sysctl.write("net/ipv4/conf/all/send_redirects", "0")
        sysctl.write("net/ipv4/conf/default/send_redirects", "0")
        # Bridged frames are the guard's; br_netfilter would show them to the router's rules, too.
        for kind in ("iptables", "ip6tables", "arptables"):
            sysctl.write(f"net/bridge/bridge-nf-call-{kind}", "0", needed=False)

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

    def _resolve(self, networks: list[dict[str, Any]], uplink: Uplink) -> None:
        """Start the resolver, in the host's network namespace with sockets of ours."""
        with uplink.on_host(self._home):
            pid, _ = process.clone3(0)
            if pid == 0:
                _be_resolver(self._names, networks, self._listening)
        for sock, _ in self._listening:
            sock.close()
        self._names.close()
        self._listening = []

    def show(self) -> dict[str, Any]:
        """Return the rules in force, here and on the host, as nft prints them."""
        rules = self._rules.run("list ruleset\n")
        host = self._uplink.show(self._home) if self._uplink is not None else ""
        return {"rules": rules, "host_rules": host}

    def close(self) -> None:
        """Remove what would go by itself a moment later."""
        if self._uplink is not None:
            self._uplink.close()


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
        self._network = Network(names)

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
            fd = network.endpoints.attach(message)
            self._connection.send({"event": "attached", "key": message["key"]}, (fd,))
        elif operation == "detach":
            network.endpoints.detach(message)
        elif operation in ("connect", "disconnect"):
            getattr(network.endpoints, operation)(message)
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
