"""What a neighbour, a container and another program on the host cannot do. security.md 2.F."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import machine
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
    gocker.netns = host.host.fd
    return gocker


def test_f1_a_neighbour_does_not_reach_a_loopback_port(net: Gocker, host: Host) -> None:
    """moby#41872: also where another program has set route_localnet for the whole host."""
    for name in ("all/route_localnet", "all/forwarding"):
        host.set(f"net/ipv4/conf/{name}", "1")
    host.lan.run("ip", "route", "del", "local", "127.0.0.1", "table", "local")
    host.lan.run("ip", "route", "add", "127.0.0.1", "via", "10.9.0.1", "src", "10.9.0.2")
    with serving(net, {"services": {"web": server(ports=["8080:8080"])}}):
        with host.lan.inside(), pytest.raises(TimeoutError):
            get("127.0.0.1", 8080, 1)
        with host.host.inside():
            assert get("127.0.0.1", 8080).startswith("web")


@pytest.mark.parametrize("forwarding", ["0", "1"])
def test_f2_a_neighbour_does_not_reach_a_project_directly(
    net: Gocker, host: Host, forwarding: str
) -> None:
    """Neither by the project's own address on the host nor by a container's."""
    host.set("net/ipv4/ip_forward", forwarding)
    host.lan.run("ip", "route", "add", "169.254.0.0/16", "via", "10.9.0.1")
    host.lan.run("ip", "route", "add", "172.24.0.0/16", "via", "10.9.0.1")
    with serving(net, {"services": {"web": server(ports=["8080:8080"])}}):
        routes = json.loads(host.host.run("ip", "-j", "route"))
        (project,) = [it["dst"] for it in routes if it["dev"].startswith("gk")]
        with host.lan.inside():
            for address, port in ((project, 1), (project, 8080), ("172.24.0.2", 8080)):
                with pytest.raises(OSError, match=r"timed out|unreachable"):
                    get(address, port, 0.5)


def test_f5_a_container_cannot_speak_with_another_s_address(net: Gocker) -> None:
    """By a raw IP socket and by a packet socket: the first datagram that arrives is honest."""
    listen = """python3 -ISc '
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", 7000))
print("up", flush=True)
data, peer = sock.recvfrom(100)
print(data.decode(), peer[0], flush=True)
'"""
    forge = """python3 -ISc '
import socket, struct, sys
source, target = map(socket.inet_aton, ("172.24.0.100", "172.24.0.3"))
udp = struct.pack("!4H", 7000, 7000, 8 + 6, 0) + b"forged"
header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, source, target)
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.sendto(header + udp, ("172.24.0.3", 0))
own = open("/sys/class/net/eth0/address").read().strip().replace(":", "")
def checksum(data):
    total = sum(struct.unpack("!10H", data))
    total = (total & 0xffff) + (total >> 16)
    return ~((total & 0xffff) + (total >> 16)) & 0xffff
header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
packet.bind(("eth0", 0))
for mac in ("020202020202", own):
    frame = b"\\xff" * 6 + bytes.fromhex(mac) + b"\\x08\\x00" + header + udp
    packet.send(frame)
honest = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
honest.sendto(b"honest", ("172.24.0.3", 7000))
'"""
    support = {"x-gocker": {"role": "support", "ready": {"log": "up"}}}
    unconfined = {"cap_add": ["NET_RAW"], "security_opt": ["seccomp=unconfined"]}
    services = {
        "a-listener": client(listen) | support,
        "forger": client(forge, "a-listener", **unconfined),
    }
    services["a-listener"]["networks"] = {"default": {"ipv4_address": "172.24.0.3"}}
    networks = {"default": {"ipam": {"config": [{"subnet": "172.24.0.0/24"}]}}}
    result = net.up({"services": services, "networks": networks})
    assert result.verdict("forger") == "ok", result.log("forger")
    assert result.log("a-listener").splitlines()[1].split()[0] == "honest"


@pytest.mark.parametrize(("extra", "answer"), [([], "no"), (["gw:host-gateway"], "OK hello")])
def test_f6_the_host_is_out_of_reach_unless_the_spec_asks(
    net: Gocker, host: Host, extra: list[str], answer: str
) -> None:
    script = ask("169.254.1.1 7001")
    spec = {"services": {"web": server(), "c": client(script, "web", extra_hosts=extra)}}
    with host.host.serving("0.0.0.0", 7001):
        assert net.up(spec).log("c").strip() == answer


def test_f8_other_tables_stay_and_their_flush_opens_nothing(net: Gocker, host: Host) -> None:
    foreign = (
        "table inet theirs { chain c { type filter hook input priority 0 ; policy accept ; } ; }"
    )
    host.host.run("nft", foreign)
    listed = host.host.run("nft", "list", "table", "inet", "theirs")
    with serving(net, {"services": {"web": server(ports=["8080:8080"])}}):
        assert host.host.run("nft", "list", "table", "inet", "theirs") == listed
        host.host.run("nft", "flush", "ruleset")
        assert "gocker_" in host.host.run("nft", "list", "tables")
        with host.host.inside():
            assert get("127.0.0.1", 8080).startswith("web")
        with host.lan.inside(), pytest.raises(ConnectionRefusedError):
            get("10.9.0.1", 8080)
    assert host.host.run("nft", "list", "tables") == ""


def named(pid: int, name: str) -> int:
    """Return the process called `name` below another."""
    (found,) = [
        it for it in machine.descendants(pid)
        if Path(f"/proc/{it}/comm").read_text().strip() == name
    ]  # fmt: skip
    return found


@pytest.mark.parametrize("victim", ["gocker-net", "gocker-names", "gocker-launcher", "front"])
def test_a_killed_process_of_ours_leaves_nothing(net: Gocker, host: Host, victim: str) -> None:
    before = host.state()
    spec = {"services": {"web": server(ports=["8080:8080"]), "c": client("sleep 100", "web")}}
    running = net.start(spec)
    running.wait_for("container.started", "c")
    pid = running.pid if victim == "front" else named(running.pid, victim)
    os.kill(pid, signal.SIGKILL)
    result = running.finish()
    assert result.code in (3, -signal.SIGKILL)
    assert host.becomes(before), host.state()
    assert net.down().code == 0


def test_the_resolver_is_confined(net: Gocker) -> None:
    with serving(net, {"services": {"web": server()}}) as running:
        pid = named(running.pid, "gocker-names")
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        assert status["Uid"].split() == ["65534"] * 4
        assert {int(status[key], 16) for key in ("CapPrm", "CapEff", "CapBnd", "CapInh")} == {0}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
