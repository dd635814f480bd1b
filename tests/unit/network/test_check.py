"""Bad input about networks: each mistake is told with its path, before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gocker.errors import SpecError
from gocker.spec.load import LoadOptions
from gocker.spec.load import load as load_spec
from gocker.spec.model import Project, load

SUBNET = {"ipam": {"config": [{"subnet": "10.1.0.0/24"}]}}


def problems(services: dict[str, Any], **networks: Any) -> dict[str, str]:
    """Return the messages by path."""
    model = {"name": "p", "services": services, "networks": networks}
    try:
        Project.from_canonical(model, lambda _: None)
    except SpecError as error:
        return {problem.path: problem.message for problem in error.problems}
    return {}


def of_pool(**pool: Any) -> dict[str, str]:
    found = problems({"a": {"networks": {"n": None}}}, n={"ipam": {"config": [pool]}})
    return {path.removeprefix("networks.n.ipam.config[0]."): text for path, text in found.items()}


def of_network(**network: Any) -> dict[str, str]:
    found = problems({"a": {"networks": {"n": None}}}, n=network)
    return {path.removeprefix("networks.n."): text for path, text in found.items()}


def of_service(**service: Any) -> dict[str, str]:
    found = problems({"a": service, "b": {}}, n=SUBNET)
    return {path.removeprefix("services.a."): text for path, text in found.items()}


def of_use(**use: Any) -> dict[str, str]:
    found = of_service(networks={"n": use})
    return {path.removeprefix("networks.n."): text for path, text in found.items()}


@pytest.mark.parametrize(
    ("pool", "path", "message"),
    [
        ({"subnet": "10.1.0.1/24"}, "subnet", "not a subnet: 10.1.0.1/24 has host bits set"),
        ({"subnet": "10.1"}, "subnet", "not a subnet: '10.1' does not appear to be"),
        ({"subnet": "fd00::/64"}, "subnet", "an IPv6 subnet, but enable_ipv6 is off"),
        ({"subnet": "127.0.0.0/8"}, "subnet", "127.0.0.0/8 is reserved for other uses"),
        ({"subnet": "10.1.0.0/24", "gateway": "10.2.0.1"}, "gateway",
         "10.2.0.1 is not in 10.1.0.0/24"),
        ({"subnet": "10.1.0.0/24", "gateway": "10.1.0.255"}, "gateway",
         "10.1.0.255 is the network's or the broadcast address of 10.1.0.0/24"),
        ({"subnet": "10.1.0.0/24", "ip_range": "10.2.0.0/25"}, "ip_range",
         "10.2.0.0/25 is not part of the subnet 10.1.0.0/24"),
        ({"subnet": "10.1.0.0/24", "aux_addresses": {"x": "y"}}, "aux_addresses.x",
         "'y' is no IP address"),
        ({"subnet": "10.1.0.0/24", "aux_addresses": {"x": "10.1.0.1"}}, "aux_addresses.x",
         "10.1.0.1 is the gateway of networks.n already"),
        ({"gateway": "10.1.0.1"}, "networks.n.ipam.config[0]", "needs a subnet"),
    ],
)  # fmt: skip
def test_subnets(pool: dict[str, Any], path: str, message: str) -> None:
    found = of_pool(**pool)
    assert list(found) == [path]
    assert found[path].startswith(message)


def test_overlapping_subnets() -> None:
    wide = {"ipam": {"config": [{"subnet": "10.1.0.0/16"}]}}
    found = problems({"a": {"networks": {"m": None, "n": None}}}, n=SUBNET, m=wide)
    assert found == {
        "networks.m.ipam.config[0].subnet":
        "10.1.0.0/16 overlaps 10.1.0.0/24 of networks.n.ipam.config[0].subnet",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("network", "path", "message"),
    [
        ({"driver": "overlay"}, "driver", "unknown driver 'overlay'"),
        ({"enable_ipv4": False}, "networks.n", "enable_ipv4 and enable_ipv6 are both off: no "
                                               "address is left"),
        ({"external": True}, "external", "not built yet: networks between projects"),
        ({"driver_opts": {"x": "1"}}, "driver_opts.x", "option 'x' has no meaning here"),
        ({"driver_opts": {"mtu": "9"}}, "driver_opts.mtu", "'9' is no MTU"),
        ({"driver_opts": {"com.docker.network.bridge.name": "a/b"}},
         "driver_opts.com.docker.network.bridge.name", "'a/b' is no interface's name"),
        ({"driver": "macvlan", "driver_opts": {"parent": "eth0"}}, "networks.n",
         "macvlan needs a subnet"),
        ({"driver": "macvlan", **SUBNET}, "driver_opts",
         "macvlan needs driver_opts.parent: a link of the host"),
    ],
)  # fmt: skip
def test_networks(network: dict[str, Any], path: str, message: str) -> None:
    assert of_network(**network) == {path: message}


@pytest.mark.parametrize(
    ("service", "path", "message"),
    [
        ({"network_mode": "hosts"}, "network_mode", "unknown network mode 'hosts'"),
        ({"network_mode": "service:c"}, "network_mode", "there is no service 'c'"),
        ({"network_mode": "service:a"}, "network_mode", "a service cannot have its own network"),
        ({"network_mode": "service:b", "ports": [{"target": 80}]}, "ports",
         "cannot publish ports with network_mode: service:b"),
        ({"network_mode": "bridge", "networks": {"n": None}}, "networks",
         "contradicts network_mode: bridge"),
        ({"links": ["c"]}, "links[0]", "there is no service 'c'"),
        ({"links": ["b"], "networks": {"n": None}}, "links[0]", "shares no network with 'b'"),
        ({"expose": ["http"]}, "expose[0]", "'http' is no port"),
        ({"ports": [{"target": 80, "published": "99999"}]}, "ports[0].published",
         "'99999' is out of range"),
        ({"ports": [{"target": 80, "published": "x"}]}, "ports[0].published", "'x' is no port"),
        ({"ports": [{"target": 80, "host_ip": "here"}]}, "ports[0].host_ip",
         "'here' is no IP address"),
        ({"scale": 3, "ports": [{"target": 80, "published": "8080"}]}, "ports[0].published",
         "3 replicas cannot share 1 port(s)"),
        ({"mac_address": "02:42"}, "mac_address", "'02:42' is no MAC address"),
    ],
)  # fmt: skip
def test_services(service: dict[str, Any], path: str, message: str) -> None:
    assert of_service(**service) == {path: message}


@pytest.mark.parametrize(
    ("use", "path", "message"),
    [
        ({"ipv4_address": "10.2.0.5"}, "ipv4_address", "10.2.0.5 is not in 10.1.0.0/24"),
        ({"ipv4_address": "10.1.0.1"}, "ipv4_address",
         "10.1.0.1 is the gateway of networks.n already"),
        ({"ipv6_address": "fd00::5"}, "ipv6_address",
         "an address of one's own needs a subnet that the spec names"),
        ({"aliases": ["a b"]}, "aliases[0]", "'a b' cannot be a name in the DNS"),
        ({"mac_address": "03:00:00:00:00:01"}, "mac_address",
         "'03:00:00:00:00:01' is a multicast address"),
        ({"interface_name": "lo"}, "interface_name", "'lo' cannot be an interface's name"),
        ({"link_local_ips": ["10.0.0.1"]}, "link_local_ips[0]", "10.0.0.1 is not link-local"),
        ({"driver_opts": {"x": "y"}}, "driver_opts.x", "option 'x' has no meaning here"),
    ],
)  # fmt: skip
def test_endpoints(use: dict[str, Any], path: str, message: str) -> None:
    assert of_use(**use) == {path: message}


def test_an_address_that_two_services_want() -> None:
    both = {"networks": {"n": {"ipv4_address": "10.1.0.5"}}}
    assert problems({"a": both, "b": both}, n=SUBNET) == {
        "services.b.networks.n.ipv4_address": "10.1.0.5 is that of services.a already"
    }


def test_an_address_for_replicas() -> None:
    service = {"scale": 2, "networks": {"n": {"ipv4_address": "10.1.0.5"}}}
    assert problems({"a": service}, n=SUBNET) == {
        "services.a.networks.n.ipv4_address": "2 replicas cannot have one address"
    }


def port(host: str | None, published: str, protocol: str = "tcp") -> dict[str, Any]:
    return {"target": 80, "published": published, "protocol": protocol, "host_ip": host}


@pytest.mark.parametrize(
    ("one", "two", "collide"),
    [
        (port(None, "80"), port("127.0.0.1", "80"), True),
        (port("0.0.0.0", "80"), port("127.0.0.1", "80"), True),
        (port("127.0.0.1", "80"), port("127.0.0.2", "80"), False),
        (port(None, "80"), port(None, "80", "udp"), False),
        (port("::", "80"), port("0.0.0.0", "80"), False),
        (port(None, "80-81"), port(None, "80"), False),
    ],
)
def test_a_port_that_two_services_want(one: Any, two: Any, collide: bool) -> None:
    found = problems({"a": {"ports": [one]}, "b": {"ports": [two]}})
    assert (list(found) == ["services.b.ports[0]"]) == collide


def test_names_that_collide() -> None:
    services = {"a": {}, "b": {"networks": {"default": {"aliases": ["a"]}}}}
    assert problems(services) == {
        "services.b.networks.default.aliases[0]": "'a' is the name of another service in 'default'"
    }
    services = {"a": {"expose": ["80"]}, "b": {"container_name": "a"}}
    assert problems(services) == {"services.b.container_name": "'a' is the name of another service"}


def test_a_mistake_has_its_place(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("""\
services:
  a:
    networks:
      n: {ipv4_address: 10.9.0.1}
networks:
  n:
    ipam: {config: [{subnet: 10.1.0.0/24}]}
""")
    loaded = load_spec(LoadOptions(files=[str(spec)]))
    with pytest.raises(SpecError) as caught:
        load(loaded.model, loaded.place)
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (4, 25)


def test_a_batch_without_networks_is_not_looked_at() -> None:
    import sys

    sys.modules.pop("gocker.network.check", None)
    assert problems({"a": {}, "b": {"network_mode": "none"}}) == {}
    assert "gocker.network.check" not in sys.modules
