"""A project's network: a process with a namespace that holds bridges, rules and gateways.

The launcher forks it (`gocker.runtime.netfork`) before it has prepared anything itself; the front
talks to it on a socket of its own, and its end of file ends it. With it goes the namespace, with
the namespace everything in it and the link to the host, and with its nftables socket its table on
the host: a SIGKILL leaves nothing. No namespace has a name in the file system.

Requests, each with ``op``, and the events that answer them:

``up``       ``id``, ``networks``, ``ports``, ``access``: see `Network.up`;
             -> ``net_up``: ``ports`` as they are now, ``links``
``attach``   ``key``, ``endpoints``, ``sysctl``: a container's namespace, ready;
             -> ``attached``: ``key``, with the namespace's descriptor
``detach``   ``key``: the container is gone; no answer
``retain``   ``keys``: there is another front, and of all containers only these; no answer
``connect``  ``unit``, ``network``, ``names``, ``addresses``: a running container gets one more
             interface; ``disconnect``  ``unit``, ``network``;  -> ``changed``: ``addresses``
``show``     -> ``shown``: ``rules``, ``host_rules``, ``names``, ``containers``

An answer to what failed has ``error`` instead. The last three are other commands', which connect
to the socket ``network`` in the run's directory.
"""

from __future__ import annotations

import _socket as socket
import json
import os

from gocker.linux import netlink, process
from gocker.linux.netlink import Netlink
from gocker.linux.nftables import Nftables
from gocker.nested import in_user_namespace
from gocker.runtime import hostside, netrules, netspace, sysctl
from gocker.runtime.endpoints import Endpoints
from gocker.runtime.uplink import Uplink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.runtime import slirp
    from gocker.wire import Message

_LO, _FIRST_BRIDGE = 1, 2000
_PATIENCE_S = 2.0


class Network:
    """What the process does, request by request. Starts in the host's namespace."""

    def __init__(self, names: socket.socket) -> None:
        self._names = names
        # The resolver's sockets, each with its network.
        self._listening: list[tuple[socket.socket, str]] = []
        self._uplink: Uplink | slirp.Uplink | None = None
        # In a user namespace: the ends of its socket, and its process.
        self._resolver: tuple[socket.socket, socket.socket, hostside.Stayer] | None = None
        # Our own way to the resolver, beside the front's.
        self.names: socket.socket | None = None
        self._home: int
        self._netlink: Netlink
        self._rules: Nftables
        self.endpoints: Endpoints

    def up(self, message: Message) -> dict[str, Any]:
        """Make the project's namespace and everything in it.

        ``id``: names the link and the table on the host; ``networks``: ``key``, ``driver``,
        ``bridge``, ``mac``, ``gateways``, ``subnets``, ``mtu``, ``internal``, ``icc``,
        ``masquerade``, ``parent``; ``ports``: ``protocol``, ``host``, ``first``, ``last``,
        ``address``, ``target``; ``access``: containers may connect to the host itself;
        ``directory``: the run's.

        Raises:
            GockerError: what cannot be had; nothing is left when this process ends.
        """
        bridges = [item for item in message["networks"] if item["driver"] == "bridge"]
        outward = [item for item in bridges if not item["internal"]]
        self._uplink = uplink = self._way_out(message, outward=bool(outward))
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
        if isinstance(uplink, Uplink):
            if outward:
                uplink.lead_out(message["id"], outward, self._home, self._netlink)
                uplink.publish(message["id"], self._home, access=message["access"])
        else:
            uplink.lead_out(self._home)
            if message["access"]:
                self._rules.run(uplink.access_rules())
        self._rules.run(netrules.project_tables(bridges, uplink.published, uplink.links))
        if not isinstance(uplink, Uplink):
            uplink.publish()
        networks = {item["key"]: item for item in message["networks"]}
        self.endpoints = Endpoints(self._home, self._netlink, self._rules, networks, uplink)
        self._listen(bridges)
        if self._listening:
            self._resolve(message["networks"], uplink)
        return {"ports": [[it.protocol, it.host, it.port, it.address, it.target]
                          for it in uplink.published],
                "links": [link.name for link in uplink.links]}  # fmt: skip

    def _way_out(self, message: Message, *, outward: bool) -> Uplink | slirp.Uplink:
        """Return the link to the host; in a user namespace the program that stands for it.

        There the resolver, too, is made before this process leaves the host's network.
        """
        if not in_user_namespace():
            return Uplink(message["ports"])
        from gocker.runtime import slirp

        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._resolver = (ours, theirs, hostside.Stayer(
            lambda told, fds: _be_resolver(
                [self._names, theirs], message["networks"],
                [(socket.socket(fileno=fd), key)
                 for fd, key in zip(fds, told["keys"], strict=True)],
            )
        ))  # fmt: skip
        return slirp.Uplink(
            message["ports"], message["directory"], outward=outward, access=message["access"]
        )

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

    def _resolve(self, networks: list[dict[str, Any]], uplink: Uplink | slirp.Uplink) -> None:
        """Start the resolver, in the host's network namespace with sockets of ours."""
        if self._resolver is not None:
            ours, theirs, child = self._resolver
            fds = [sock.fileno() for sock, _ in self._listening]
            child.tell({"keys": [key for _, key in self._listening]}, fds)
        else:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with uplink.on_host(self._home):
                pid, _ = process.clone3(0)
                if pid == 0:
                    try:
                        _be_resolver([self._names, theirs], networks, self._listening)
                    finally:
                        os._exit(1)  # a copy of this process must not go on as this process
        for sock in (self._names, theirs, *(sock for sock, _ in self._listening)):
            sock.close()
        ours.settimeout(_PATIENCE_S)
        self.names = ours
        self._listening = []

    def show(self) -> dict[str, Any]:
        """Return the rules in force, here and on the host, as nft prints them."""
        rules = self._rules.run("list ruleset\n")
        host = self._uplink.show(self._home) if self._uplink is not None else ""
        names = []
        if self.names is not None:
            self.tell({"op": "list"})
            names = json.loads(self.names.recv(1 << 20))
        return {"rules": rules, "host_rules": host, "names": names,
                "containers": self.endpoints.show()}  # fmt: skip

    def connect(self, message: Message) -> list[str]:
        """Connect a running container, and let its names be found; return its addresses."""
        key, endpoint = self.endpoints.connect(message)
        hosts = [address.partition("/")[0] for address in endpoint["addresses"]]
        entry = {"network": message["network"], "names": message["names"], "addresses": hosts,
                 "domain": message["domain"]}  # fmt: skip
        self.tell({"op": "more", "key": key, "endpoint": entry})
        return hosts

    def disconnect(self, message: Message) -> list[str]:
        """Take a running container off a network, and its names out of it."""
        key = self.endpoints.disconnect(message)
        self.tell({"op": "less", "key": key, "network": message["network"]})
        return []

    def tell(self, message: Message) -> None:
        """Tell the resolver."""
        if self.names is not None:
            self.names.send(json.dumps(message).encode())

    def close(self) -> None:
        """Remove what would go by itself a moment later."""
        if self._uplink is not None:
            self._uplink.close()


def _be_resolver(
    names: list[socket.socket], networks: list[dict[str, Any]],
    listening: list[tuple[socket.socket, str]],
) -> None:  # fmt: skip
    """Be the project's resolver until the front is gone."""
    from gocker.runtime.confine import confine
    from gocker.runtime.resolver import Resolver

    process.set_name("gocker-names")
    process.set_title("gocker-names")
    kept = sorted(sock.fileno() for sock in (*names, *(sock for sock, _ in listening)))
    for first, last in zip([3, *(fd + 1 for fd in kept)], [*(fd - 1 for fd in kept), 1 << 31],
                           strict=True):  # fmt: skip
        process.close_range(first, last)
    resolver = Resolver(names, networks, listening)
    confine()
    resolver.serve()
