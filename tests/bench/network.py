"""Networks side by side: ``python -m tests.bench.network [N ...]``, as root; 0 for traffic only.

The same Compose file, N services on a bridge that run ``true``, given to gocker, docker-compose and
podman-compose: from the command's start to its end, everything made and everything removed for each
round. Then throughput and latency of a published port and between containers beside docker.
All of it in namespaces of its own. Needs docker.io, docker-compose, podman, netavark, aardvark-dns,
podman-compose (PyPI), iperf3, busybox-static.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.bench import machine, peers
from tests.bench.__main__ import PURE_V1, say
from tests.bench.measure import Contender, alternate, ratios, run, statistics_of
from tests.support import bundle

_INSIDE = "GOCKER_BENCH_NETWORK"
_ROUNDS = {1: 5, 10: 3, 100: 1}
_HOST = ("/usr", "/lib", "/lib64")
_SERVE = ["sh", "-c", '/usr/bin/iperf3 -s >/dev/null & exec "$@"', "sh", "/usr/bin/python3", "-ISc"]
# Round trips of one byte over one connection.
_ECHO = """
import socket
sock = socket.create_server(("0.0.0.0", 7000))
print("up", flush=True)
while True:
    connection, _ = sock.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := connection.recv(100):
        connection.sendall(data)
"""


def own_namespaces() -> None:
    """Go on in mount and network namespaces of our own."""
    if _INSIDE in os.environ:
        return
    os.environ[_INSIDE] = "1"
    script = PURE_V1 + 'ip link set lo up; mount -t tmpfs tmpfs /run/netns 2>/dev/null; exec "$@"'
    inner = ["sh", sys.executable, "-m", "tests.bench.network", *sys.argv[1:]]
    os.execvp("unshare", ["unshare", "-m", "-n", "sh", "-c", script, *inner])  # noqa: S606  # itself again


class Bench:
    """A directory with the image, the specs and the contenders."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.rootfs = bundle.make_rootfs(top / "rootfs")
        for name in ("usr", "etc", "tmp"):
            (self.rootfs / name).mkdir(exist_ok=True)
        for name in ("lib", "lib64"):
            (self.rootfs / name).symlink_to(f"usr/{name}")
        self.docker = peers.Docker(top)
        self.podman = peers.Podman(top)
        self.environ = {
            **bundle.environ(top / "gocker"), "GOCKER_RUN_ROOT": str(top / "live"),
        }  # fmt: skip

    def load(self) -> None:
        archive = self.top / "rootfs.tar"
        peers.pack(self.rootfs, archive)
        self.docker.load(archive)
        self.podman.load(archive)

    def spec(self, count: int, image: str) -> Path:
        """Write `count` services on one bridge."""
        service = {"image": image, "command": ["true"], "networks": ["n"]}
        document = {
            "services": {f"s{number}": service for number in range(count)},
            "networks": {"n": {"driver": "bridge"}},
        }
        kind = "gocker" if image.startswith("rootfs:") else "peers"
        directory = self.top / f"{kind}{count}"
        directory.mkdir(exist_ok=True)
        path = directory / "compose.yaml"
        path.write_text(json.dumps(document if kind == "gocker" else {"version": "3", **document}))
        return path

    def contenders(self, count: int) -> list[Contender]:
        ours = str(self.spec(count, f"rootfs:{self.rootfs}"))
        theirs = str(self.spec(count, peers.IMAGE))
        compose = ("docker-compose", "-f", theirs, "-p", f"d{count}")
        docker = {"DOCKER_HOST": self.docker.socket}
        places = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        podman = (
            shutil.which("podman-compose", path=places) or "podman-compose",
            "--podman-args", " ".join(self.podman.options), "-f", theirs, "-p", f"p{count}",
        )  # fmt: skip
        found = [Contender("gocker", (sys.executable, "-m", "gocker", "up", ours, "--no-summary"),
                           self.environ)]  # fmt: skip
        if shutil.which("docker-compose"):
            found.append(
                Contender("docker-compose", (*compose, "up"), docker, _down(compose, docker))
            )
        if Path(podman[0]).exists():
            found.append(Contender("podman-compose", (*podman, "up"), {}, _down(podman, {})))
        return found


def _down(argv: tuple[str, ...], environ: dict[str, str]) -> Callable[[], None]:
    """Return what removes the containers of the round before."""

    def down() -> None:
        subprocess.run(
            [*argv, "down", "-t", "0"], env={**os.environ, **environ}, capture_output=True
        )

    return down


def created(bench: Bench, count: int) -> None:
    """Print the time for `count` attached containers."""
    contenders = bench.contenders(count)
    samples: dict[str, Any] = {}
    working = []
    for contender in contenders:
        try:
            alternate([contender], 0, str(bench.top / "output"), lambda _: None)
            working.append(contender)
        except RuntimeError as error:
            print(f"{count} containers, {contender.name}: does not run here: {str(error)[-300:]}")
    samples = alternate(working, _ROUNDS.get(count, 3), str(bench.top / "output"), say)
    for name, values in samples.items():
        figures = statistics_of(values)
        times = ratios(values, samples["gocker"])["median"]
        print(f"{count} containers, {name}: {figures['median_s']:.3f} s, {times:.1f} x gocker",
              flush=True)  # fmt: skip


# -- traffic ---------------------------------------------------------------------------------------


def throughput(address: str, port: int) -> float:
    """Return Gbit/s of one TCP stream of two seconds."""
    argv = ["iperf3", "-c", address, "-p", str(port), "-t", "2", "-J"]
    for _ in range(3):
        output = json.loads(subprocess.run(argv, capture_output=True, text=True).stdout)
        if "error" not in output:
            break
        time.sleep(1)  # its server takes one client after the other
    else:
        raise RuntimeError(f"iperf3: {output['error']}")
    return float(output["end"]["sum_received"]["bits_per_second"] / 1e9)


def latency(address: str, port: int) -> float:
    """Return the median of 3,000 round trips, microseconds."""
    with socket.create_connection((address, port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        times = []
        for _ in range(3000):
            before = time.perf_counter()
            sock.sendall(b"x")
            sock.recv(100)
            times.append(time.perf_counter() - before)
    return statistics.median(times) * 1e6


_BETWEEN = r"""
import json, socket, statistics, subprocess, sys, time
server = sys.argv[1]
out = subprocess.run(["/usr/bin/iperf3", "-c", server, "-t", "2", "-J"], capture_output=True).stdout
gbits = json.loads(out)["end"]["sum_received"]["bits_per_second"] / 1e9
sock = socket.create_connection((server, 7000))
sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
times = []
for _ in range(3000):
    before = time.perf_counter(); sock.sendall(b"x"); sock.recv(100)
    times.append(time.perf_counter() - before)
print("between", gbits, statistics.median(times) * 1e6)
"""


@contextmanager
def ours(bench: Bench) -> Iterator[Callable[[], tuple[float, float]]]:
    """Run the servers in gocker; yields what measures between containers."""
    server = {
        "image": "host:/", "command": [*_SERVE, _ECHO],
        "ports": ["15201:5201", "17000:7000"],
        "x-gocker": {"role": "support", "ready": {"log": "up"}},
    }  # fmt: skip
    client = {
        "image": "host:/", "command": ["/usr/bin/python3", "-ISc", _BETWEEN, "server"],
        "depends_on": {"server": {"condition": "service_healthy"}},
    }  # fmt: skip
    wait = {"image": "host:/", "command": ["sleep", "1000"], "network_mode": "none",
            "depends_on": {"client": {"condition": "service_completed_successfully"},
                           "server": {"condition": "service_healthy"}}}  # fmt: skip
    path = bench.top / "traffic.yaml"
    path.write_text(json.dumps({"services": {"server": server, "client": client, "wait": wait}}))
    argv = [sys.executable, "-m", "gocker", "up", str(path), "--log-format", "none"]
    process = subprocess.Popen(
        argv, env={**os.environ, **bench.environ}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = next(line for line in process.stdout if "between" in line)
    _, gbits, micros = line[line.index("between") :].split()
    try:
        yield lambda: (float(gbits), float(micros))
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def dockers(bench: Bench) -> Iterator[Callable[[], tuple[float, float]]]:
    """Run the servers in docker."""
    places = [os.path.realpath(path) for path in _HOST]
    mounts = [word for path in places for word in ("-v", f"{path}:{path}:ro")]
    docker = [*bench.docker.command]
    run(*docker, "network", "create", "bench")
    start = [*docker, "run", "-d", "--rm", "--network", "bench", "--security-opt",
             "seccomp=unconfined", *mounts]  # fmt: skip
    run(*start, "--name", "server", "-p", "127.0.0.1:25201:5201", "-p", "127.0.0.1:27000:7000",
        peers.IMAGE, *_SERVE, _ECHO)  # fmt: skip
    time.sleep(2)  # the peer tells nobody when its servers listen

    def between() -> tuple[float, float]:
        output = run(*docker, "run", "--rm", "--network", "bench", "--security-opt",
                     "seccomp=unconfined", *mounts, peers.IMAGE, "/usr/bin/python3", "-ISc",
                     _BETWEEN, "server")  # fmt: skip
        _, gbits, micros = output.split()
        return float(gbits), float(micros)

    try:
        yield between
    finally:
        run(*docker, "rm", "-f", "server")


def traffic(bench: Bench) -> None:
    """Print throughput and latency of both, one after the other."""
    for name, servers, ports in (
        ("gocker", ours, (15201, 17000)),
        ("docker", dockers, (25201, 27000)),
    ):
        try:
            with servers(bench) as between:
                gbits, micros = between()
                print(
                    f"between containers, {name}: {gbits:.1f} Gbit/s, {micros:.0f} us", flush=True
                )
                rate, wait = throughput("127.0.0.1", ports[0]), latency("127.0.0.1", ports[1])
                print(f"published port, {name}: {rate:.1f} Gbit/s, {wait:.0f} us", flush=True)
        except (RuntimeError, OSError, StopIteration) as error:
            print(f"traffic, {name}: {str(error)[-500:]}")


def main() -> None:
    """Measure and print."""
    if os.geteuid():
        sys.exit("root is needed")
    own_namespaces()
    for name, value in machine.describe().items():
        print(f"{name}: {value}")
    bench = Bench(Path(tempfile.mkdtemp(prefix="gocker-bench-", dir="/var/tmp")))
    try:
        with ExitStack() as stack:
            stack.enter_context(bench.docker.daemon(networks=True))
            bench.load()
            for count in [int(word) for word in sys.argv[1:] or ("1", "10", "100")]:
                if count:
                    created(bench, count)
            traffic(bench)
    finally:
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if f" {bench.top}" in line:
                run("umount", line.split()[1])
        shutil.rmtree(bench.top)
    print(f"load at the end: {machine.load()}")


if __name__ == "__main__":
    main()
