"""Addresses, names and ports of a project, decided before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from gocker.errors import PlanError
from gocker.image.resolve import RootFs
from gocker.network.model import Attachment, NetworkPlan
from gocker.plan import codec
from gocker.plan.build import build
from gocker.plan.container import Host
from gocker.plan.model import Plan
from gocker.spec.model import load
from gocker.spec.model.roles import roles


def plan(services: dict[str, Any], **networks: Any) -> Plan:
    for service in services.values():
        service.setdefault("command", ["true"])
    limits = dict.fromkeys(("RLIMIT_CORE", "RLIMIT_MEMLOCK", "RLIMIT_NOFILE"), 1 << 30)
    host = Host(rootfs=lambda _: RootFs(("/lower",)), volumes_root="/v", hard_limits=limits)
    project = load({"name": "p", "services": services, "networks": networks}, lambda _: None)
    return build(project, roles(project), host)


def network_of(found: Plan) -> NetworkPlan:
    assert found.network is not None
    return found.network


def attachment(found: Plan, unit: str) -> Attachment:
    result = found.containers[unit].network
    assert result is not None
    return result


def addresses(found: Plan, unit: str) -> list[str]:
    return [it for endpoint in attachment(found, unit).endpoints for it in endpoint.addresses]


def test_a_batch_has_no_network() -> None:
    done = {"a": {"condition": "service_completed_successfully"}}
    assert plan({"a": {}, "b": {"depends_on": done}}).network is None


@pytest.mark.parametrize(
    "services",
    [
        {"a": {"expose": ["80"]}},
        {"a": {"ports": [{"target": 80}]}},
        {"a": {"network_mode": "bridge"}},
        {"a": {"networks": {"default": {"aliases": ["x"]}}}},
        {"db": {}, "a": {"depends_on": {"db": {}}}},
    ],
)
def test_a_word_about_networks_or_a_support_service_makes_one(services: dict[str, Any]) -> None:
    assert len(network_of(plan(services)).networks) == 1


def test_a_network_of_the_spec_is_for_all() -> None:
    found = plan({"a": {}, "b": {"networks": {"n": None}}, "c": {"network_mode": "none"}}, n={})
    assert addresses(found, "a") == ["172.24.16.2/20"]
    assert found.containers["c"].network is None


def test_addresses_are_given_in_order_and_never_twice() -> None:
    n = {"ipam": {"config": [{"subnet": "10.1.0.0/24", "gateway": "10.1.0.2",
                              "aux_addresses": {"x": "10.1.0.4"}}]}}  # fmt: skip
    services = {
        "a": {"scale": 2, "networks": {"n": None}},
        "b": {"networks": {"n": {"ipv4_address": "10.1.0.1"}}},
    }
    found = plan(services, n=n)
    assert addresses(found, "a-1") == ["10.1.0.3/24"]
    assert addresses(found, "a-2") == ["10.1.0.5/24"]
    assert addresses(found, "b") == ["10.1.0.1/24"]


def test_r31_all_addresses_of_a_subnet_are_used_and_no_more() -> None:
    n = {"ipam": {"config": [{"subnet": "10.1.0.0/24"}]}}
    found = plan({"a": {"scale": 253, "networks": {"n": None}}}, n=n)
    given = [addresses(found, unit)[0] for unit in found.units]
    assert sorted(given) == sorted(f"10.1.0.{number}/24" for number in range(2, 255))
    with pytest.raises(PlanError, match=r"10.1.0.0/24 has no address left for 'a-254'") as caught:
        plan({"a": {"scale": 254, "networks": {"n": None}}}, n=n)
    assert caught.value.context["path"] == "networks.n.ipam.config[0]"


def test_a_range_is_where_addresses_come_from() -> None:
    pool = {"subnet": "10.1.0.0/16", "ip_range": "10.1.5.0/30"}
    n = {"ipam": {"config": [pool]}}
    found = plan({"a": {"scale": 4, "networks": {"n": None}}}, n=n)
    assert addresses(found, "a-1") == ["10.1.5.0/16"]
    with pytest.raises(PlanError, match="no address left"):
        plan({"a": {"scale": 5, "networks": {"n": None}}}, n=n)


def test_chosen_subnets_avoid_given_ones() -> None:
    n = {"ipam": {"config": [{"subnet": "172.24.0.0/16"}]}}
    found = plan({"a": {"networks": {"m": None, "n": None}}}, m={}, n=n)
    subnets = [it for network in network_of(found).networks for it in network.subnets]
    assert subnets == ["172.25.0.0/20", "172.24.0.0/16"]


def test_equal_specs_have_equal_addresses() -> None:
    services = {"a": {"scale": 3, "expose": ["80"]}}
    network = {"default": {"enable_ipv6": True}}
    assert plan(services, **network).network == plan(services, **network).network


def test_both_versions() -> None:
    found = plan({"a": {"networks": {"n": None}}}, n={"enable_ipv6": True})
    four, six = addresses(found, "a")
    assert four == "172.24.0.2/20"
    assert six.startswith("fd")
    assert six.endswith("::2/64")
    only_six = plan({"a": {"networks": {"n": None}}}, n={"enable_ipv6": True, "enable_ipv4": False})
    assert addresses(only_six, "a") == [six]


def test_the_default_route_is_where_the_spec_says() -> None:
    services = {"a": {"networks": {"m": {"priority": 1}, "n": {"gw_priority": 5}, "o": None}}}
    found = plan(services, m={}, n={}, o={"internal": True})
    first, second, third = attachment(found, "a").endpoints
    assert [it.network for it in (first, second, third)] == ["m", "n", "o"]
    assert [it.interface for it in (first, second, third)] == ["eth0", "eth1", "eth2"]
    assert [bool(it.gateways) for it in (first, second, third)] == [False, True, False]


def test_an_internal_network_has_no_default_route() -> None:
    found = plan({"a": {"networks": {"n": None}}}, n={"internal": True})
    assert attachment(found, "a").endpoints[0].gateways == ()


def test_names() -> None:
    services = {
        "a": {"scale": 2, "networks": {"n": {"aliases": ["x"]}}},
        "b": {"container_name": "c", "networks": {"n": None}, "links": ["a:y"]},
    }
    found = plan(services, n={})
    assert attachment(found, "a-2").endpoints[0].names == ("a-2", "p-a-2", "a", "x")
    assert attachment(found, "b").endpoints[0].names == ("c", "b")
    assert attachment(found, "b").links == (("y", "a"),)


def test_interface_mac_and_sysctls() -> None:
    use = {
        "interface_name": "net9", "mac_address": "02:00:00:00:00:AA",
        "driver_opts": {"com.docker.network.endpoint.sysctls":
                        "net.ipv4.conf.IFNAME.log_martians=1"},
    }  # fmt: skip
    found = attachment(plan({"a": {"networks": {"n": use}}}, n={}), "a")
    assert (found.endpoints[0].interface, found.endpoints[0].mac) == ("net9", "02:00:00:00:00:aa")
    assert found.sysctl == (("net/ipv4/conf/net9/log_martians", "1"),)


def test_a_port_is_the_host_s_own_unless_an_address_is_given() -> None:
    ports = [{"target": 80, "published": "8080"}, {"target": 81, "host_ip": "0.0.0.0"},
             {"target": 82, "published": "9000-9010", "protocol": "udp"}]  # fmt: skip
    found = network_of(plan({"a": {"ports": ports}})).publications
    assert [(it.host, it.first, it.last, it.target, it.protocol) for it in found] == [
        ("127.0.0.1", 8080, 8080, 80, "tcp"),
        ("0.0.0.0", 0, 0, 81, "tcp"),
        ("127.0.0.1", 9000, 9010, 82, "udp"),
    ]


def test_a_port_of_an_internal_service_is_refused() -> None:
    services = {"a": {"networks": {"n": None}, "ports": [{"target": 80}]}}
    with pytest.raises(PlanError, match="internal networks only") as caught:
        plan(services, n={"internal": True})
    assert caught.value.context["path"] == "services.a.ports[0]"


def test_a_shared_namespace_belongs_to_the_other() -> None:
    services = {"a": {"command": ["x"]}, "b": {"network_mode": "service:a"}}
    found = plan(services)
    assert attachment(found, "b").share == "a"
    services = {"a": {"container_name": "c"}, "b": {"network_mode": "container:c"}}
    assert attachment(plan(services), "b").share == "a"
    assert "sysctl" not in found.containers["b"].config["linux"]


def test_files() -> None:
    services = {"a": {"expose": ["80"], "hostname": "h", "extra_hosts": {"g": ["host-gateway"]},
                      "dns": ["10.0.0.1"], "dns_search": ["x.y"]}}  # fmt: skip
    found = plan(services)
    files = {it["path"]: it["content"] for it in found.containers["a"].files}
    assert "172.24.0.2\th a\n" in files["/etc/hosts"]
    assert "169.254.1.1\tg\n" in files["/etc/hosts"]
    assert files["/etc/resolv.conf"] == "nameserver 172.24.0.1\nsearch x.y\n"
    assert attachment(found, "a").dns == ("10.0.0.1",)
    assert network_of(found).access


def test_the_codec_keeps_networks() -> None:
    ports = [{"target": 80, "published": "8080"}]
    found = plan({"a": {"ports": ports, "networks": {"n": {"aliases": ["x"]}}}}, n={})
    assert codec.decode(codec.encode(found)) == found
