"""Landlock, the second wall: each test leaves the first one (seccomp, capabilities) out."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support.command import Gocker
from tests.support.netns import Namespace

pytestmark = pytest.mark.root

OFF = {"landlock": "off"}
UNCONFINED = ["seccomp=unconfined"]


@pytest.mark.parametrize(("extension", "works"), [({}, False), (OFF, True)], ids=["on", "off"])
def test_landlock_no_mount_in_a_user_namespace(
    gocker: Gocker, extension: dict[str, object], works: bool
) -> None:
    """A process that has made itself a user namespace has every capability in it."""
    script = "unshare -Urm mount -t tmpfs none /tmp && echo mounted"
    result = gocker.sh(script, security_opt=UNCONFINED, x_gocker=extension, image="host:/",
                       user="1000")  # fmt: skip
    assert ("mounted" in result.log()) is works, result.log()


@pytest.mark.parametrize(("extension", "works"), [({}, False), (OFF, True)], ids=["on", "off"])
def test_landlock_scopes_abstract_sockets_in_the_hosts_network(
    gocker: Gocker, tmp_path: Path, extension: dict[str, object], works: bool
) -> None:
    """CVE-2020-15257: a service of the host's on an abstract socket."""
    name = f"gocker-test-{tmp_path.name}"
    host = Namespace()
    gocker.netns = host.fd
    with host.inside():
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(f"\0{name}")
    server.listen(8)
    code = f"import socket; socket.socket(socket.AF_UNIX).connect('\\0{name}'); print('connected')"
    health = {"test": ["CMD", "/usr/bin/python3", "-c", code], "interval": "1s", "retries": 1}
    job = {"image": "host:/", "network_mode": "host", "x-gocker": extension}
    result = gocker.up({"services": {
        "job": {**job, "command": ["/usr/bin/python3", "-c", code]},
        "probed": {**job, "command": ["sleep", "1000"], "healthcheck": health},
        "after": {"command": ["true"], "depends_on": {"probed": {"condition": "service_healthy"}}},
    }})  # fmt: skip
    server.close()
    host.close()
    assert ("connected" in result.log("job")) is works, result.log("job")
    # A probe is a program of the image's as well, and must not get around it.
    assert (result.verdict("after") == "ok") is works


def test_landlock_files_move_between_directories(gocker: Gocker) -> None:
    """As programs expect within one file system: no EXDEV."""
    script = "mkdir /a /b; echo x >/a/f; ln /a/f /b/l; mv /a/f /b/; cat /b/f; stat -c %h /b/l"
    assert gocker.sh(script).log() == "x\n2\n"


def test_landlock_is_left_out_for_what_has_to_mount(gocker: Gocker) -> None:
    result = gocker.sh("mount -t tmpfs none /tmp && echo mounted", cap_add=["SYS_ADMIN"])
    assert result.log() == "mounted\n"
    (event,) = result.events("security.relaxed")
    assert "landlock" in [item["what"] for item in event["weaker"]]


def test_landlock_limits_tcp_ports(gocker: Gocker) -> None:
    code = (
        "import socket\n"
        "for port in (81, 80):\n"
        "    try:\n"
        "        server = socket.create_server(('127.0.0.1', port)); print(port, 'bound')\n"
        "    except OSError as error: print(port, error.errno)\n"
        "socket.create_connection(('127.0.0.1', 80)); print('connected')\n"
    )
    result = gocker.job("/usr/bin/python3", "-c", code, image="host:/",
                        x_gocker={"landlock": {"tcp_bind": [80]}})  # fmt: skip
    assert result.log() == "81 13\n80 bound\nconnected\n"


def test_landlock_exec_can_look_at_the_containers_processes(gocker: Gocker) -> None:
    """A domain of its own could not: docs/security.md says why commands of `exec` have none."""
    health = {"test": ["CMD", "ls", "/proc/1/fd/0"], "interval": "1s", "retries": 1}
    result = gocker.up({"services": {
        "probed": {"command": ["sleep", "1000"], "healthcheck": health},
        "after": {"command": ["true"], "depends_on": {"probed": {"condition": "service_healthy"}}},
    }})  # fmt: skip
    assert result.verdict("after") == "ok"
