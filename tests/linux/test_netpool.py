"""A network namespace serves again only if nothing has ever happened in it."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.support.command import Gocker

pytestmark = pytest.mark.root
_DONE = {"condition": "service_completed_successfully"}
SHOW = "readlink /proc/self/ns/net; cat /proc/net/dev /proc/net/snmp"


def in_turn(gocker: Gocker, first: str, **more: Any) -> tuple[list[str], list[str]]:
    """Return what two jobs, one after the other, show of their networks; the first does more."""
    result = gocker.up({"services": {
        "one": {"command": ["sh", "-c", f"{SHOW}; {first} 2> /dev/null"], **more},
        "two": {"command": ["sh", "-c", SHOW], "depends_on": {"one": _DONE}},
    }})  # fmt: skip
    assert result.code == 0, result
    one, two = (result.log(name).splitlines() for name in ("one", "two"))
    return one, two


def test_an_untouched_network_serves_the_next_container(gocker: Gocker) -> None:
    one, two = in_turn(gocker, "true")
    assert one == two
    assert one[0].startswith("net:[")


@pytest.mark.parametrize(
    "script",
    [
        "echo x | nc -w 1 127.0.0.1 9 || true",  # a packet over lo, refused
        "nc -w 1 10.1.2.3 9 || true",  # no route: no packet, but counted
        "nc -w 1 ::1 9 || true",
    ],
    ids=["packet", "no-route", "ipv6"],
)
def test_a_used_network_is_never_seen_again(gocker: Gocker, script: str) -> None:
    one, two = in_turn(gocker, f"{script}; {SHOW}")
    new, used = one[1 : len(two)], one[len(two) + 1 :]
    assert used != new
    assert two[1:] == new


def test_who_could_change_a_network_gets_one_of_its_own(gocker: Gocker) -> None:
    result = gocker.up({"services": {
        "one": {"command": ["ip", "addr", "add", "10.9.9.9/32", "dev", "lo"],
                "cap_add": ["NET_ADMIN"]},
        "two": {"command": ["ip", "addr", "show", "lo"], "depends_on": {"one": _DONE}},
    }})  # fmt: skip
    assert result.code == 0, result
    assert "10.9.9.9" not in result.log("two")
    assert "127.0.0.1" in result.log("two")


def test_who_could_hand_on_a_socket_gets_one_of_its_own(gocker: Gocker) -> None:
    running = gocker.start({"services": {
        "one": {"command": ["sleep", "1000"], "volumes": ["/shared"]},
        "two": {"command": ["readlink", "/proc/self/ns/net"], "depends_on": {"one": _DONE},
                "x-gocker": {"when": "always"}},
    }})  # fmt: skip
    pid = running.wait_for("container.started", "one")["process.pid"]
    # As long as it is open its number is no other namespace's.
    with open(f"/proc/{pid}/ns/net") as namespace:
        os.kill(pid, signal.SIGKILL)
        result = running.finish()
        number = os.fstat(namespace.fileno()).st_ino
    assert result.verdict("two") == "ok"
    assert result.log("two") != f"net:[{number}]\n"


def test_containers_side_by_side_have_networks_of_their_own(gocker: Gocker) -> None:
    services = {name: {"command": ["sleep", "1000"]} for name in ("one", "two")}
    running = gocker.start({"services": services}, "--parallel", "2")
    pids = [running.wait_for("container.started", name)["process.pid"] for name in services]
    namespaces = {os.readlink(f"/proc/{pid}/ns/net") for pid in (os.getpid(), *pids)}
    running.send(signal.SIGINT)
    assert running.finish().code == 130
    assert len(namespaces) == 3
