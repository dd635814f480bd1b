"""Driver options that have a meaning here; every other one is refused. Pure."""

from __future__ import annotations

import re
from ipaddress import ip_address

from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gocker.network.ipam import Subnet
    from gocker.spec.model.network import Network as Spec
    from gocker.spec.model.network import ServiceNetwork

_DOCKER = "com.docker.network."
_MTU = ("mtu", f"{_DOCKER}driver.mtu")
_BRIDGE_NAME, _ICC = f"{_DOCKER}bridge.name", f"{_DOCKER}bridge.enable_icc"
_MASQUERADE = f"{_DOCKER}bridge.enable_ip_masquerade"
_HOST_BINDING = f"{_DOCKER}bridge.host_binding_ipv4"
_BRIDGE = (*_MTU, _BRIDGE_NAME, _ICC, _MASQUERADE)
_MACVLAN = (*_MTU, "parent", "macvlan_mode", "mode")
_SYSCTLS = f"{_DOCKER}endpoint.sysctls"
_MODES = ("private", "vepa", "bridge", "passthru")
INTERFACE = re.compile(r"(?!\.\.?$)[^\s/:%]{1,15}")
_TRUE, _FALSE = ("1", "t", "true"), ("0", "f", "false")
DEFAULT_MTU = 1500


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the options of a network come to."""

    mtu: int = DEFAULT_MTU
    bridge: str = ""
    icc: bool = True
    masquerade: bool = True
    parent: str = ""
    mode: str = "bridge"


def of_network(spec: Spec) -> Chosen:
    """Return what a network's ``driver_opts`` mean; `problems` has seen to it that they do."""
    opts = spec.driver_opts
    macvlan = spec.driver == "macvlan"
    mtu = next((int(opts[name]) for name in _MTU if name in opts), 0 if macvlan else DEFAULT_MTU)
    return Chosen(
        mtu=mtu,
        bridge=opts.get(_BRIDGE_NAME, ""),
        icc=opts.get(_ICC, "true").lower() in _TRUE,
        masquerade=opts.get(_MASQUERADE, "true").lower() in _TRUE,
        parent=opts.get("parent", ""),
        mode=opts.get("macvlan_mode") or opts.get("mode") or "bridge",
    )


def problems(spec: Spec) -> Iterator[tuple[str, str, str | None]]:
    """Yield option, message and hint for everything that is wrong with a network's options."""
    macvlan = spec.driver == "macvlan"
    known = _MACVLAN if macvlan else _BRIDGE
    for name, value in spec.driver_opts.items():
        if name not in known:
            yield name, f"option {name!r} has no meaning here", f"known: {', '.join(known)}"
        elif name in _MTU and not (value.isdecimal() and 68 <= int(value) <= 65535):
            yield name, f"{value!r} is no MTU", "68 to 65535 bytes; IPv6 needs 1280"
        elif name == _BRIDGE_NAME and INTERFACE.fullmatch(value) is None:
            yield name, f"{value!r} is no interface's name", "up to 15 characters, no / or space"
        elif name in (_ICC, _MASQUERADE) and value.lower() not in (*_TRUE, *_FALSE):
            yield name, f"{value!r} is neither true nor false", None
        elif name in ("macvlan_mode", "mode") and value not in _MODES:
            yield name, f"unknown mode {value!r}", f"one of {', '.join(_MODES)}"
    if macvlan and not spec.driver_opts.get("parent"):
        yield "", "macvlan needs driver_opts.parent: a link of the host", "see `ip link`"


def endpoint_problems(use: ServiceNetwork) -> Iterator[tuple[str, str, str | None]]:
    """Yield option, message and hint for what is wrong with an endpoint's ``driver_opts``."""
    for name, value in use.driver_opts.items():
        if name != _SYSCTLS:
            yield name, f"option {name!r} has no meaning here", f"known: {_SYSCTLS}"
            continue
        for setting in value.split(","):
            if re.fullmatch(r"net\.(ipv4|ipv6|mpls)\.[\w.]+\.IFNAME\.\w+=[^,\s]+", setting) is None:
                hint = "as net.ipv4.conf.IFNAME.log_martians=1"
                yield name, f"{setting!r} is no sysctl of an interface", hint


def sysctls(
    uses: Mapping[str, ServiceNetwork], interfaces: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield the sysctls that endpoints ask for, as path below /proc/sys and value."""
    for key, use in uses.items():
        for setting in filter(None, use.driver_opts.get(_SYSCTLS, "").split(",")):
            name, _, value = setting.partition("=")
            path = name.replace(".", "/").replace("/IFNAME/", f"/{interfaces[key]}/")
            yield path, value


def inside(address: str, subnet: Subnet) -> bool:
    """Return whether an address belongs to a subnet."""
    return ip_address(address) in subnet
