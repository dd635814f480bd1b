"""The same Compose file in gocker and in docker-compose, compared line by line.

``python -m tests.long.compose_networks``, as root. A web server with three replicas, an API on two
networks, a database on an internal one, a client: who resolves whom, who reaches whom, over IPv4
and IPv6, from the host and from a neighbour. Needs docker.io, docker-compose, busybox-static.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench import peers
from tests.bench.__main__ import PURE_V1
from tests.support import bundle
from tests.support.netns import Namespace

_INSIDE = "GOCKER_COMPARE"
_SERVER = """
import socket
sock = socket.create_server(("::", 8080), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    connection, peer = sock.accept()
    connection.sendall(b"hello")
    connection.close()
"""
# What each client asks: words for the line, and a host and port to reach or a name to resolve.
_CLIENT = """
import socket, sys, time
def reach(host, port=8080):
    try:
        with socket.create_connection((host, port), 2) as sock:
            sock.sendall(b"GET")
            return "yes" if sock.recv(9) else "closed"
    except OSError:
        return "no"
def count(name, family):
    try:
        return len({it[4][0] for it in socket.getaddrinfo(name, 80, family, socket.SOCK_STREAM)})
    except OSError:
        return 0
who = sys.argv[1]
for name in ("web", "www", "api", "db", "client", "nobody"):
    four, six = count(name, socket.AF_INET), count(name, socket.AF_INET6)
    print("RESULT", who, "resolves", name, "A", four, "AAAA", six, "reaches", reach(name),
          flush=True)
print("RESULT", who, "reaches outside", reach("10.9.0.2", 7000), flush=True)
print("RESULT", who, "has a default route", any(
    line.split()[1] == "00000000" for line in open("/proc/net/route").readlines()[1:]), flush=True)
print("RESULT", who, "done", flush=True)
time.sleep(1000)
"""
_CLIENTS = {"client": ["front"], "inner": ["back"], "both": ["front", "back"]}
_HEALTHY = {
    "test": ["CMD", "/usr/bin/python3", "-ISc",
             "import socket; socket.create_connection(('127.0.0.1', 8080))"],
    "interval": "1s", "timeout": "5s", "retries": 30,
}  # fmt: skip


def spec(image: str) -> dict[str, Any]:
    """Return the file; the image's name is the only difference."""
    volumes = [f"{path}:{path}:ro" for path in ("/usr", "/etc/ld.so.cache")]
    common = {"image": image, "volumes": volumes}

    def service(code: str, *words: str, **keys: Any) -> dict[str, Any]:
        return {**common, "command": ["/usr/bin/python3", "-ISc", code, *words], **keys}

    after = {name: {"condition": "service_healthy"} for name in ("web", "api", "db")}
    clients = {
        name: service(_CLIENT, name, networks=networks, depends_on=after)
        for name, networks in (
            ("client", ["front"]),
            ("inner", ["back"]),
            ("both", ["front", "back"]),
        )
    }
    return {
        "version": "2.4",
        "services": {
            "web": service(_SERVER, networks={"front": {"aliases": ["www"]}}, scale=3,
                           healthcheck=_HEALTHY),
            "api": service(_SERVER, networks=["front", "back"], healthcheck=_HEALTHY,
                           ports=["127.0.0.1:18080:8080", "10.9.0.1:18081:8080"]),
            "db": service(_SERVER, networks=["back"], healthcheck=_HEALTHY),
            **clients,
        },
        "networks": {
            "front": {"enable_ipv6": True, "ipam": {"config": [
                {"subnet": "10.77.0.0/24"}, {"subnet": "fd77::/64"}]}},
            "back": {"internal": True},
        },
    }  # fmt: skip


def results(argv: list[str], environ: dict[str, str], lan: Namespace) -> list[str]:
    """Run `up` until all clients are done; return their lines, and the host's and neighbour's."""
    process = subprocess.Popen(
        argv, env={**os.environ, **environ}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    lines, everything = [], []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            everything.append(line)
            if "RESULT" in line:
                lines.append(line[line.index("RESULT") + 7 :].strip())
            if sum("done" in line for line in lines) == 3:
                break
        else:
            raise RuntimeError("".join(everything[-40:]))
        reach = "import socket; print(socket.create_connection(('{}', {}), 2).recv(9))"
        for who, run in (("host", _run), ("neighbour", lan.run)):
            for address, port in (("127.0.0.1", 18080), ("10.9.0.1", 18080), ("10.9.0.1", 18081)):
                if (who, address) != ("neighbour", "127.0.0.1"):
                    text = run("/usr/bin/python3", "-ISc", reach.format(address, port), check=False)
                    lines.append(f"{who} reaches {address}:{port} {'yes' if text else 'no'}")
    finally:
        process.terminate()
        process.communicate()
    return sorted(lines)


def _run(*argv: str, check: bool) -> str:
    return subprocess.run(argv, check=check, capture_output=True, text=True).stdout


def own_namespaces() -> None:
    if _INSIDE not in os.environ:
        os.environ[_INSIDE] = "1"
        script = PURE_V1 + 'ip link set lo up; exec "$@"'
        inner = ["sh", sys.executable, "-m", "tests.long.compose_networks"]
        os.execvp("unshare", ["unshare", "-m", "-n", "sh", "-c", script, *inner])  # noqa: S606  # itself again


def main() -> int:
    """Run both and print where they differ."""
    own_namespaces()
    top = Path(tempfile.mkdtemp(prefix="gocker-compare-", dir="/var/tmp"))
    lan = Namespace()
    for command in (
        f"ip link add eth9 type veth peer name eth0 netns /proc/{os.getpid()}/fd/{lan.fd}",
        "ip addr add 10.9.0.1/24 dev eth9", "ip link set eth9 up",
    ):  # fmt: skip
        subprocess.run(command.split(), check=True)
    for command in ("ip addr add 10.9.0.2/24 dev eth0", "ip link set eth0 up"):
        lan.run(*command.split())
    rootfs = bundle.make_rootfs(top / "rootfs")
    for name in ("usr", "etc", "tmp"):
        (rootfs / name).mkdir(exist_ok=True)
    for name in ("lib", "lib64"):
        (rootfs / name).symlink_to(f"usr/{name}")
    (rootfs / "etc/ld.so.cache").touch()
    docker = peers.Docker(top)
    found: dict[str, list[str]] = {}
    try:
        with lan.serving("10.9.0.2", 7000):
            ours = top / "ours/compose.yaml"
            ours.parent.mkdir()
            ours.write_text(json.dumps(spec(f"rootfs:{rootfs}")))
            environ = {**bundle.environ(top / "gocker"), "GOCKER_RUN_ROOT": str(top / "live")}
            found["gocker"] = results(
                [
                    sys.executable,
                    "-m",
                    "gocker",
                    "up",
                    str(ours),
                    "--no-summary",
                    "--parallel",
                    "0",
                ],
                environ,
                lan,
            )
            with docker.daemon(networks=True):
                peers.pack(rootfs, top / "rootfs.tar")
                docker.load(top / "rootfs.tar")
                theirs = top / "theirs/compose.yaml"
                theirs.parent.mkdir()
                theirs.write_text(json.dumps(spec(peers.IMAGE)))
                argv = ["docker-compose", "-f", str(theirs)]
                found["docker-compose"] = results(
                    [*argv, "up"], {"DOCKER_HOST": docker.socket}, lan
                )
                subprocess.run([*argv, "down", "-t", "0"], capture_output=True,
                               env={**os.environ, "DOCKER_HOST": docker.socket})  # fmt: skip
    finally:
        lan.close()
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if f" {top}" in line:
                subprocess.run(["umount", line.split()[1]], check=True)
        shutil.rmtree(top)
    one, two = found["gocker"], found["docker-compose"]
    print(*one, sep="\n")
    differ = [f"gocker: {line}" for line in one if line not in two]
    differ += [f"docker-compose: {line}" for line in two if line not in one]
    print(f"\n{len(one)} lines, {len(set(one) & set(two))} equal", *differ, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
