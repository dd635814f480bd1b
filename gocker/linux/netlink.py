"""rtnetlink(7): links, addresses, routes and neighbours, as few messages as can be.

Messages are built by plain functions and sent together by `Netlink.send`: one system call makes a
veth pair with both its names, its bridge and its peer's namespace, and brings it up.
Source: include/uapi/linux/{netlink,rtnetlink,if_link,if_addr,neighbour,veth}.h.
"""

from __future__ import annotations

import _socket as socket
import struct

from gocker.errors import SyscallError

NETLINK_ROUTE = 0
SOL_NETLINK, NETLINK_EXT_ACK, NETLINK_CAP_ACK = 270, 11, 10
NLM_F_REQUEST, NLM_F_ACK = 1, 4
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
_NLM_F_CAPPED, _NLM_F_ACK_TLVS = 0x100, 0x200
NLMSG_ERROR = 2
NLMSGERR_ATTR_MSG = 1

RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR, RTM_NEWROUTE = 16, 17, 20, 21, 24
RTM_NEWNEIGH = 28

IFF_UP = 1
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_LINKINFO, IFLA_NET_NS_FD = 18, 28
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
VETH_INFO_PEER = 1
IFLA_MACVLAN_MODE = 1
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}

IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
IFA_F_NODAD, IFA_F_NOPREFIXROUTE = 0x02, 0x200

RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC = 1, 4, 5, 6, 7
RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST, RTNH_F_ONLINK = 254, 4, 1, 4
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 0, 253

AF_BRIDGE = 7
NDA_LLADDR = 2
NUD_NOARP, NTF_MASTER = 0x40, 0x04


class Message:
    """A request, and words for its error."""

    __slots__ = ("flags", "kind", "payload", "what")

    def __init__(self, kind: int, flags: int, payload: bytes, what: str) -> None:
        self.kind = kind
        self.flags = flags
        self.payload = payload
        self.what = what


class Netlink:
    """A socket of the network namespace that this process is in when it is made."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._sock = socket.socket(socket.AF_NETLINK, kind, NETLINK_ROUTE)
        # The kernel's own words about an error (Linux 4.12), without our message repeated.
        for option in (NETLINK_EXT_ACK, NETLINK_CAP_ACK):
            self._sock.setsockopt(SOL_NETLINK, option, 1)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def send(self, *messages: Message) -> None:
        """Send requests in one go and wait until the kernel has done all of them.

        Raises:
            SyscallError: for the first one that failed; those after it were tried, too.
        """
        self._sock.send(b"".join(map(_encode, range(len(messages)), messages)))
        failure: SyscallError | None = None
        answered = 0
        while answered < len(messages):
            data = self._sock.recv(65536)
            offset = 0
            while offset < len(data):
                length, kind, flags, number, _ = struct.unpack_from("=IHHII", data, offset)
                if kind == NLMSG_ERROR:
                    answered += 1
                    error = -struct.unpack_from("=i", data, offset + 16)[0]
                    if error and failure is None:
                        failure = _failure(error, messages[number], flags,
                                           data[offset + 20 : offset + length])  # fmt: skip
                offset += _aligned(length)
        if failure is not None:
            raise failure


def _failure(error: int, message: Message, flags: int, rest: bytes) -> SyscallError:
    """Return the error of a request, with the kernel's sentence if there is one."""
    text = ""
    if flags & _NLM_F_ACK_TLVS:
        # After the header of our message, and the rest of it unless that was left out.
        length = struct.unpack_from("=I", rest)[0]
        at = 16 if flags & _NLM_F_CAPPED else _aligned(length)
        while at + 4 <= len(rest):
            size, kind = struct.unpack_from("=HH", rest, at)
            if kind & 0x3FFF == NLMSGERR_ATTR_MSG:
                text = rest[at + 4 : at + size].rstrip(b"\0").decode("utf-8", "replace")
            at += _aligned(max(size, 4))
    return SyscallError("rtnetlink", error, None, request=message.what, kernel=text)


def _aligned(size: int) -> int:
    return (size + 3) & ~3


def _encode(number: int, message: Message) -> bytes:
    flags = message.flags | NLM_F_REQUEST | NLM_F_ACK
    length = 16 + len(message.payload)
    return struct.pack("=IHHII", length, message.kind, flags, number, 0) + message.payload


def attribute(kind: int, data: bytes) -> bytes:
    """Return a struct rtattr with its data, padded."""
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _number(kind: int, value: int) -> bytes:
    return struct.pack("=HHI", 8, kind, value)


def _text(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def _ifinfomsg(index: int, *, up: bool) -> bytes:
    flags = IFF_UP if up else 0
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, flags)


def _new_link(
    name: str, kind: str, *, index: int = 0, up: bool = True, mtu: int | None = None,
    mac: bytes | None = None, master: int | None = None, data: bytes = b"", more: bytes = b"",
) -> Message:  # fmt: skip
    info = attribute(IFLA_INFO_KIND, kind.encode())
    if data:
        info += attribute(IFLA_INFO_DATA, data)
    payload = _ifinfomsg(index, up=up) + _text(IFLA_IFNAME, name)
    if mtu is not None:
        payload += _number(IFLA_MTU, mtu)
    if mac is not None:
        payload += attribute(IFLA_ADDRESS, mac)
    if master is not None:
        payload += _number(IFLA_MASTER, master)
    payload += more + attribute(IFLA_LINKINFO, info)
    return Message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, payload, f"make {kind} {name!r}")


def bridge(name: str, index: int, *, mtu: int, mac: bytes) -> Message:
    """Make a bridge and bring it up; without a port it has no carrier."""
    return _new_link(name, "bridge", index=index, mtu=mtu, mac=mac)


def veth(
    name: str, peer: str, peer_namespace: int, *, index: int = 0, peer_index: int = 0,
    master: int | None = None, mtu: int = 1500, mac: bytes | None = None,
    peer_mac: bytes | None = None,
) -> Message:  # fmt: skip
    """Make a pair: `name` here, up, and `peer` in another namespace.

    The peer stays down: the kernel configures it before the two are one (ENOTCONN).

    Args:
        name: this end's.
        peer: the other end's.
        peer_namespace: descriptor of the other end's network namespace.
        index: interface index of this end; 0 lets the kernel choose both.
        peer_index: of the other end.
        master: index of the bridge that `name` becomes a port of.
        mtu: of both ends, bytes.
        mac: of this end; None lets the kernel choose.
        peer_mac: of the other end.
    """
    other = _ifinfomsg(peer_index, up=False) + _text(IFLA_IFNAME, peer)
    other += _number(IFLA_NET_NS_FD, peer_namespace) + _number(IFLA_MTU, mtu)
    if peer_mac is not None:
        other += attribute(IFLA_ADDRESS, peer_mac)
    return _new_link(name, "veth", index=index, mtu=mtu, mac=mac, master=master,
                     data=attribute(VETH_INFO_PEER, other))  # fmt: skip


def macvlan(
    name: str, parent: int, mode: str, namespace: int, *, mtu: int | None, mac: bytes | None
) -> Message:
    """Make a macvlan of the link `parent` in another namespace; it is down."""
    data = _number(IFLA_MACVLAN_MODE, MACVLAN_MODES[mode])
    more = _number(IFLA_LINK, parent) + _number(IFLA_NET_NS_FD, namespace)
    return _new_link(name, "macvlan", up=False, mtu=mtu, mac=mac, data=data, more=more)


def set_up(index: int, *, mtu: int | None = None) -> Message:
    """Bring a link up."""
    payload = _ifinfomsg(index, up=True)
    if mtu is not None:
        payload += _number(IFLA_MTU, mtu)
    return Message(RTM_NEWLINK, 0, payload, f"bring link {index} up")


def rename(index: int, name: str) -> Message:
    """Give a link that is down another name."""
    payload = _ifinfomsg(index, up=False) + _text(IFLA_IFNAME, name)
    return Message(RTM_NEWLINK, 0, payload, f"call link {index} {name!r}")


def delete_link(name: str) -> Message:
    """Remove a link and, if it is a veth, its peer. Waits tens of milliseconds."""
    payload = _ifinfomsg(0, up=False) + _text(IFLA_IFNAME, name)
    return Message(RTM_DELLINK, 0, payload, f"remove {name!r}")


def family(address: str) -> int:
    """Return AF_INET or AF_INET6."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def packed(address: str) -> bytes:
    """Return an address as the kernel has it."""
    return socket.inet_pton(family(address), address)


def address(
    index: int, text: str, *, prefix_route: bool = True, link_scope: bool = False
) -> Message:
    """Add the address ``192.0.2.1/24`` or ``2001:db8::1/64`` to a link.

    IPv6 addresses are usable at once: they are ours to give, nobody has to be asked (RFC 4862).
    """
    host, _, length = text.partition("/")
    flags = 0 if prefix_route else IFA_F_NOPREFIXROUTE
    if ":" in host:
        flags |= IFA_F_NODAD
    data = packed(host)
    scope = RT_SCOPE_LINK if link_scope else RT_SCOPE_UNIVERSE
    payload = struct.pack("=BBBBi", family(host), int(length), flags & 0xFF, scope, index)
    payload += attribute(IFA_LOCAL, data) + attribute(IFA_ADDRESS, data)
    payload += _number(IFA_FLAGS, flags)
    return Message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, payload, f"add address {text}")


def delete_address(index: int, text: str) -> Message:
    """Remove an address from a link."""
    host, _, length = text.partition("/")
    payload = struct.pack("=BBBBi", family(host), int(length), 0, 0, index)
    payload += attribute(IFA_LOCAL, packed(host))
    return Message(RTM_DELADDR, 0, payload, f"remove address {text}")


def route(
    index: int, destination: str = "", gateway: str = "", *, version: int = 4,
    onlink: bool = False, metric: int = 0,
) -> Message:  # fmt: skip
    """Add a route through a link; a route that is there already is an error (EEXIST).

    Args:
        index: of the link.
        destination: ``192.0.2.0/24``; empty is the default route.
        gateway: empty: the destination is on the link.
        version: 4 or 6, of a default route without a gateway.
        onlink: take the gateway to be on the link, whatever the addresses say.
        metric: its priority; 0 is the kernel's default.
    """
    host, _, length = destination.partition("/")
    either = gateway or host
    kind = family(either) if either else (socket.AF_INET6 if version == 6 else socket.AF_INET)
    scope = RT_SCOPE_UNIVERSE if gateway or kind == socket.AF_INET6 else RT_SCOPE_LINK
    flags = RTNH_F_ONLINK if onlink else 0
    payload = struct.pack("=BBBBBBBBI", kind, int(length or 0), 0, 0, RT_TABLE_MAIN,
                          RTPROT_STATIC, scope, RTN_UNICAST, flags)  # fmt: skip
    if host:
        payload += attribute(RTA_DST, packed(host))
    if gateway:
        payload += attribute(RTA_GATEWAY, packed(gateway))
    if metric:
        payload += _number(RTA_PRIORITY, metric)
    payload += _number(RTA_OIF, index)
    what = f"add route to {destination or 'default'} via {gateway or index}"
    return Message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, payload, what)


def bridge_entry(port: int, mac: bytes) -> Message:
    """Tell a bridge that `mac` is behind `port`, whatever it has learnt."""
    payload = struct.pack("=BxHiHBB", AF_BRIDGE, 0, port, NUD_NOARP, NTF_MASTER, 0)
    payload += attribute(NDA_LLADDR, mac)
    flags = NLM_F_CREATE | NLM_F_REPLACE
    return Message(RTM_NEWNEIGH, flags, payload, f"add bridge entry {mac.hex(':')}")
