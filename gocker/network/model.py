"""The network part of a plan. Plain values, as `gocker.plan.model`; rebuilt by its codec."""

from __future__ import annotations

from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Driver = Literal["bridge", "macvlan"]

# The host's end of every project's link, so that a plan can name it (`host-gateway`).
HOST4 = "169.254.1.1"
HOST6 = "fd67:6f63:6b65:72::1"


@dataclass(frozen=True, slots=True)
class Network:
    """A network of the project's namespace.

    `key`: in the spec; `name`: its real one. `gateways`: its own addresses, with the lengths of
    their prefixes; `mtu`: bytes, 0 for macvlan is the parent's. `icc`: its containers may talk to
    each other. `parent` and `mode`: macvlan's.
    """

    key: str
    name: str
    driver: Driver = "bridge"
    bridge: str = ""
    mac: str = ""
    subnets: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    mtu: int = 1500
    internal: bool = False
    external: bool = False
    icc: bool = True
    masquerade: bool = True
    parent: str = ""
    mode: str = "bridge"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A container's place in one network.

    `addresses`: with the lengths of their prefixes; `gateways`: where its default routes lead,
    empty if another endpoint has them. `names`: the first one is what its address is called.
    `fixed`: the addresses, IP and MAC, that the spec asks for; the others are the plan's choice.
    """

    network: str
    interface: str
    mac: str
    addresses: tuple[str, ...]
    gateways: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    link_local: tuple[str, ...] = ()
    domain: str = ""
    fixed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Attachment:
    """A container's network namespace.

    `share`: the unit whose namespace it is; then it has no endpoints. `dns`: servers to ask on
    for it instead of the host's. `links`: further names it uses, as (name, name). `sysctl`: of
    its interfaces, as (path below /proc/sys, value).
    """

    endpoints: tuple[Endpoint, ...] = ()
    share: str = ""
    dns: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    sysctl: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Publication:
    """A port on the host that leads to a container's.

    The first free one of `first` to `last`; 0 lets the kernel choose. `path`: of the key.
    """

    unit: str
    protocol: str
    host: str
    first: int
    last: int
    target: int
    address: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """All of a project's. `access`: containers may connect to the host itself."""

    networks: tuple[Network, ...] = ()
    publications: tuple[Publication, ...] = ()
    access: bool = False
