"""Networks as containers, the host and its neighbours see them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.command import Gocker
from tests.support.netns import Host
from tests.support.servers import ask, client, get, server, serving

pytestmark = pytest.mark.root


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def net(gocker: Gocker, host: Host) -> Gocker:
    """Return the command on a host with a neighbour."""
    gocker.netns = host.host.fd
    return gocker


def resolve_by(net: Gocker, *servers: str) -> None:
    """Give the host other resolvers."""
    path = net.root / "resolv.conf"
    path.write_text("".join(f"nameserver {server}\n" for server in servers))
    net.binds["/etc/resolv.conf"] = str(path)


def test_services_find_each_other_by_name(net: Gocker) -> None:
    result = net.up({"services": {"web": server(), "c": client(ask("web"), "web")}})
    assert result.code == 0, result.err
    assert result.log("c").split() == ["web", "172.24.0.3"]


def test_nothing_is_left_on_the_host(net: Gocker, host: Host) -> None:
    before = host.state()
    spec = {"services": {"web": server(ports=["8080:8080"]), "c": client(ask("web"), "web")}}
    assert net.up(spec).code == 0
    assert host.becomes(before), host.state()


def test_jobs_that_only_wait_for_each_other_have_loopback_only(net: Gocker) -> None:
    done = {"a": {"condition": "service_completed_successfully"}}
    job = {"command": ["ls", "/sys/class/net"]}
    result = net.up({"services": {"a": job, "b": job | {"depends_on": done}}})
    assert (result.log("a").split(), result.log("b").split()) == (["lo"], ["lo"])
    assert result.events("network.created") == []


def test_an_alias_a_container_name_and_a_link_are_names(net: Gocker) -> None:
    web = server(networks={"default": {"aliases": ["www"]}}, container_name="the-web")
    script = ask("www", "the-web", "short", "www.test_default")
    spec = {"services": {"web": web, "c": client(script, "web", links=["web:short"])}}
    assert net.up(spec).log("c").split()[::2] == ["web"] * 4


def test_replicas_are_asked_in_turn(net: Gocker) -> None:
    web = server(deploy={"replicas": 3})
    script = ask(*["web"] * 6, "web-2") + "; lookup web"
    *lines, addresses = (
        net.up({"services": {"web": web, "c": client(script, "web")}}).log("c").splitlines()
    )
    assert {line.split()[0] for line in lines[:6]} == {"web-1", "web-2", "web-3"}
    assert lines[6].split()[0] == "web-2"
    assert len(addresses.split()) == 3


def test_ipv6_by_name_and_back(net: Gocker) -> None:
    networks = {"default": {"enable_ipv6": True, "ipam": {"config": [{"subnet": "fd00:5::/64"}]}}}
    script = ask("fd00:5::2") + "; lookup web; lookup fd00:5::2; lookup 172.24.0.2"
    spec = {"services": {"web": server(), "c": client(script, "web")}, "networks": networks}
    asked, found, *back = net.up(spec).log("c").splitlines()
    assert asked == "web fd00:5::3"
    assert set(found.split()) == {"fd00:5::2", "172.24.0.2"}
    assert back == ["web", "web"]


def test_without_ipv6_no_interface_speaks_it(net: Gocker) -> None:
    """security.md F3."""
    conf = "/proc/sys/net/ipv6/conf/eth0"
    script = f"cat /proc/net/if_inet6; cat {conf}/accept_ra {conf}/disable_ipv6"
    log = net.up({"services": {"web": server(), "c": client(script, "web")}}).log("c")
    assert [line.split()[-1] for line in log.splitlines()[:1]] == ["lo"]
    assert log.split()[6:] == ["0", "1"]


def test_an_internal_network_leads_nowhere(net: Gocker, host: Host) -> None:
    """Neither out, nor to other networks, nor by a name's question (security.md F4)."""
    script = ask("db", "10.9.0.2 7000") + "; lookup example.com; lookup web"
    with host.lan.refusing(53) as asked:
        resolve_by(net, "10.9.0.2")
        result = net.up({
            "services": {
                "db": server(networks=["back"]),
                "web": server(networks=["front"]),
                "c": client(script, "db", "web", networks=["back"]),
            },
            "networks": {"back": {"internal": True}, "front": {}},
        })  # fmt: skip
        assert asked() == b""
    lines = result.log("c").splitlines()
    assert lines[0].split()[0] == "db"
    assert lines[1:] == ["no", "no", "no"]


def test_other_names_are_asked_of_the_host_s_resolvers(net: Gocker, host: Host) -> None:
    with host.lan.refusing(53) as asked:
        resolve_by(net, "10.9.0.2")
        net.up({"services": {"web": server(), "c": client("lookup example.com", "web")}})
        assert b"\x07example\x03com" in asked()


def test_networks_of_a_project_are_apart(net: Gocker) -> None:
    services = {
        "one": server(networks={"a": {"ipv4_address": "10.5.0.9"}}),
        "c": client(ask("one", "10.5.0.9"), "one", networks=["b"]),
    }
    networks = {"a": {"ipam": {"config": [{"subnet": "10.5.0.0/24"}]}}, "b": {}}
    assert net.up({"services": services, "networks": networks}).log("c").split() == ["no", "no"]


def test_containers_reach_a_neighbour_of_a_host_that_does_not_forward(
    net: Gocker, host: Host
) -> None:
    sysctls = host.sysctls()
    with host.lan.serving("10.9.0.2", 7000) as seen:
        spec = {"services": {"web": server(), "c": client(ask("10.9.0.2 7000"), "web")}}
        result = net.up(spec)
    assert result.log("c").strip() == "OK hello"
    assert seen() == ["10.9.0.1"]
    assert host.sysctls() == sysctls


def test_a_published_port_is_the_host_s_own(net: Gocker, host: Host) -> None:
    """security.md F1, F9: from the host and through its addresses, not from a neighbour."""
    with serving(net, {"services": {"web": server(ports=["8080:8080"])}}):
        with host.host.inside():
            assert get("127.0.0.1", 8080) == "web 169.254.1.1"
            with pytest.raises(ConnectionRefusedError):
                get("10.9.0.1", 8080)
        with host.lan.inside(), pytest.raises(ConnectionRefusedError):
            get("10.9.0.1", 8080)


@pytest.mark.parametrize("forwarding", ["0", "1"])
def test_a_neighbour_reaches_a_port_published_to_all(
    net: Gocker, host: Host, forwarding: str
) -> None:
    """The server sees the neighbour's address, whether the host forwards or not."""
    host.set("net/ipv4/ip_forward", forwarding)
    with serving(net, {"services": {"web": server(ports=["0.0.0.0:8080:8080"])}}):
        with host.lan.inside():
            assert get("10.9.0.1", 8080) == "web 10.9.0.2"
        with host.host.inside():
            assert get("10.9.0.1", 8080) == "web 10.9.0.1"
            assert get("127.0.0.1", 8080) == "web 169.254.1.1"


def test_a_container_reaches_its_project_s_published_port(net: Gocker) -> None:
    web = server(ports=["10.9.0.1:8080:8080"])
    result = net.up({"services": {"web": web, "c": client(ask("10.9.0.1"), "web")}})
    assert result.log("c").split()[0] == "web"


def test_a_taken_port_is_told_before_anything_starts(net: Gocker, host: Host) -> None:
    with host.host.serving("127.0.0.1", 8080):
        result = net.up({"services": {"web": server(ports=["8080:8080"])}})
    assert result.code == 3
    assert "spec.yaml:" in result.err
    assert "services.web.ports[0]: cannot publish 127.0.0.1:8080/tcp: Address already in use" in (
        result.err
    )
    assert result.events("container.started") == []


def test_two_projects_have_the_same_subnet_at_once(net: Gocker, host: Host, rootfs: object) -> None:
    other = Gocker(image=net.image)
    other.netns = net.netns
    networks = {"default": {"ipam": {"config": [{"subnet": "10.7.0.0/24"}]}}}
    try:
        one = {
            "services": {"web": server(ports=["8081:8080"], hostname="one")},
            "networks": networks,
        }
        two = {
            "services": {"web": server(ports=["8082:8080"], hostname="two")},
            "networks": networks,
        }
        with serving(net, one), serving(other, {"name": "other", **two}), host.host.inside():
            assert get("127.0.0.1", 8081).split()[0] == "one"
            assert get("127.0.0.1", 8082).split()[0] == "two"
        other.check()
    finally:
        other.close()


def test_commands_tell_and_change_networks(net: Gocker) -> None:
    web = server(ports=["127.0.0.1::8080"], networks=["n"])
    other = server(networks=["m"])
    with serving(net, {"services": {"web": web, "other": other}, "networks": {"n": {}, "m": {}}}):

        def gocker(*argv: str) -> str:
            result = net.command(argv[0], "-p", "test", *argv[1:])
            assert result.code == 0, result.err
            return result.out

        address, _, port = gocker("port", "web", "8080").strip().partition(":")
        assert address == "127.0.0.1"
        assert gocker("port", "web") == f"8080/tcp -> 127.0.0.1:{port}\n"
        assert gocker("network", "ls", "-q").split() == ["test_n", "test_m"]
        debug = gocker("net", "debug", "web", "--rules")
        assert "addresses:\n  127.0.0.1\n  172.24.0.2\n" in debug
        assert "\n  0.0.0.0/0 via 172.24.0.1 dev eth0\n" in debug
        assert "\n  web (n): 172.24.0.2\n" in debug
        assert f"published: 127.0.0.1:{port}/tcp -> 8080\n" in debug
        assert "table ip gocker_" in debug

        lookup = ("exec", "other", "nslookup", "web")
        assert net.command("exec", "-p", "test", *lookup[1:]).code == 1
        found = gocker("network", "connect", "--alias", "more", "test_n", "other").strip()
        assert found == "172.24.0.3"
        assert "172.24.0.2" in gocker(*lookup)
        (document,) = json.loads(gocker("network", "inspect", "n"))
        assert set(document["Containers"]) == {"web", "other"}
        assert document["Names"]["more"] == [found]
        gocker("network", "disconnect", "n", "other")
        assert net.command("exec", "-p", "test", *lookup[1:]).code == 1
        refused = net.command("network", "-p", "test", "disconnect", "n", "other")
        assert (refused.code, refused.err) == (
            3, "gocker: 'other' is not connected to 'n'\n",
        )  # fmt: skip


def test_a_service_in_another_s_network(net: Gocker) -> None:
    services = {
        "web": server(),
        "side": client("ask 127.0.0.1; ip -br link", "web", network_mode="service:web"),
    }
    lines = net.up({"services": services}).log("side").splitlines()
    assert lines[0] == "web 127.0.0.1"
    assert any(line.startswith("eth0@") for line in lines)


def test_an_interface_as_the_spec_wants_it(net: Gocker) -> None:
    use = {
        "ipv4_address": "10.5.0.9", "mac_address": "02:00:00:00:00:09", "interface_name": "net9",
        "link_local_ips": ["169.254.77.1"],
        "driver_opts": {
            "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1"},
    }  # fmt: skip
    networks = {
        "n": {"driver_opts": {"com.docker.network.driver.mtu": "1400"},
              "ipam": {"config": [{"subnet": "10.5.0.0/24", "gateway": "10.5.0.254"}]}},
        "m": {},
    }  # fmt: skip
    script = (
        "ip -j address show net9; ip -j route; cat /proc/sys/net/ipv4/conf/net9/log_martians; "
        "cat /sys/class/net/eth0/mtu"
    )
    job = client(script, networks={"n": {**use, "gw_priority": 1}, "m": None})
    log = net.up({"services": {"c": job}, "networks": networks}).log("c").splitlines()
    (link,), routes = json.loads(log[0]), json.loads(log[1])
    assert (link["mtu"], link["address"]) == (1400, "02:00:00:00:00:09")
    found = {f"{it['local']}/{it['prefixlen']}" for it in link["addr_info"]}
    assert found == {"10.5.0.9/24", "169.254.77.1/32"}
    (default,) = [it for it in routes if it["dst"] == "default"]
    assert (default["gateway"], default["dev"]) == ("10.5.0.254", "net9")
    assert log[2:] == ["1", "1500"]


def test_a_user_namespace_has_its_network_ready(net: Gocker) -> None:
    web = server(80, userns_mode="auto")
    result = net.up({"services": {"web": web, "c": client(ask("web 80"), "web")}})
    assert result.log("c").split()[0] == "web"


def test_macvlan_gives_an_address_of_the_neighbourhood(net: Gocker, host: Host) -> None:
    networks = {
        "m": {"driver": "macvlan", "driver_opts": {"parent": "eth9"},
              "ipam": {"config": [{"subnet": "10.9.0.0/24", "gateway": "10.9.0.1",
                                   "ip_range": "10.9.0.64/26"}]}},
    }  # fmt: skip
    with host.lan.serving("10.9.0.2", 7000) as seen:
        job = client(ask("10.9.0.2 7000"), networks=["m"])
        assert net.up({"services": {"c": job}, "networks": networks}).log("c") == "OK hello\n"
    assert seen() == ["10.9.0.64"]
