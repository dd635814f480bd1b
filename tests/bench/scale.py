"""Many containers: ``python -m tests.bench.scale [linear|running|chain|grid|writers]`` as root.

``linear``: batches of 100 to 10,000 jobs, time per job, and that run.jsonl has every one.
``running``: memory and descriptors of all our processes while 1,000 containers run, and of a
monitor process of podman's and of docker's beside it.
``chain``: 1,000 jobs, each after the one before. ``grid``: 100 layers of 100 jobs, each of which
waits for three of the layer before. ``writers``: 1,000 jobs that write at once.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench import peers
from tests.support import bundle

Services = dict[str, dict[str, Any]]
SIZES = (100, 300, 1000, 3000, 10_000)
LIMITS = {"mem_limit": "16m", "cpus": 1, "pids_limit": 16}
_DONE = {"condition": "service_completed_successfully"}
_LINE = "sixteen letters."
LINES = 1000
TIMEOUT_S = 600.0


class Place:
    """A directory with a root file system and gocker's state."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.image = f"rootfs:{bundle.make_rootfs(top / 'rootfs')}"
        self.environ = bundle.environ(top / "gocker")
        self.sizes: tuple[int, ...] = SIZES

    def service(self, *command: str, **more: Any) -> dict[str, Any]:
        """Return a service with limits."""
        return {"image": self.image, "command": list(command), **LIMITS, **more}

    def command(self, services: Services, *options: str) -> list[str]:
        """Return ``gocker up`` of services."""
        spec = bundle.write_spec(self.top / "scale.yaml", "scale", services)
        return bundle.command("up", "--no-summary", "--log-format", "none", *options, str(spec))

    def up(self, services: Services, *options: str) -> float:
        """Run services to their end; return the seconds it took.

        Raises:
            RuntimeError: if one of them has no record of its end, or something is left.
        """
        argv = self.command(services, *options)
        begin = time.perf_counter()
        result = subprocess.run(
            argv, env=self.environ, capture_output=True, text=True, timeout=TIMEOUT_S
        )
        spent = time.perf_counter() - begin
        if result.returncode:
            raise RuntimeError(result.stderr[-2000:])
        self.check(len(services))
        return spent

    def last_run(self) -> Path:
        """Return the directory of the last run."""
        return max((self.top / "gocker/data/runs").glob("[!.]*"), key=os.path.getmtime)

    def check(self, jobs: int) -> None:
        """Raise RuntimeError if a job has no record, or a directory is left."""
        names = {
            record["instance"]
            for line in (self.last_run() / "run.jsonl").read_text().splitlines()
            if (record := json.loads(line))["event"] == "container.exited"
        }
        left = list((self.top / "gocker/data/containers").iterdir())
        if len(names) != jobs or left:
            raise RuntimeError(f"{len(names)} records of {jobs}, left: {left}")


def linear(place: Place) -> Iterator[dict[str, Any]]:
    """Yield the time of batches of growing size."""
    for size in place.sizes:
        services = {f"job{number}": place.service("/bin/true") for number in range(size)}
        seconds = place.up(services)
        yield {"jobs": size, "seconds": round(seconds, 2), "ms_per_job": seconds / size * 1e3}


def chain(place: Place) -> Iterator[dict[str, Any]]:
    """Yield the time of 1,000 jobs one after the other."""
    services = {"job0": place.service("/bin/true")}
    for number in range(1, 1000):
        before = {f"job{number - 1}": _DONE}
        services[f"job{number}"] = place.service("/bin/true", depends_on=before)
    seconds = place.up(services)
    yield {"jobs": 1000, "seconds": round(seconds, 2), "ms_per_job": seconds}


def grid(place: Place) -> Iterator[dict[str, Any]]:
    """Yield the time of 100 layers of 100 jobs."""
    services = {}
    for row in range(100):
        for column in range(100):
            above = [(column + shift) % 100 for shift in (-1, 0, 1)] if row else []
            needs = {f"job{row - 1}x{at}": _DONE for at in above}
            services[f"job{row}x{column}"] = place.service("/bin/true", depends_on=needs)
    seconds = place.up(services)
    yield {"jobs": 10_000, "seconds": round(seconds, 2), "ms_per_job": seconds / 10}


def writers(place: Place) -> Iterator[dict[str, Any]]:
    """Yield the time of 1,000 jobs that write 1,000 lines each at once; every line must arrive."""
    script = f"i=0; while [ $$i -lt {LINES} ]; do echo $$i {_LINE}; i=$$((i + 1)); done"
    services = {f"job{n}": place.service("/bin/sh", "-c", script) for n in range(1000)}
    seconds = place.up(services, "--parallel", "1000")
    expected = "".join(f"{number} {_LINE}\n" for number in range(LINES))
    logs = list((place.last_run() / "logs").iterdir())
    wrong = [log.name for log in logs if log.read_text() != expected]
    if wrong or len(logs) != 1000:
        raise RuntimeError(f"{len(logs)} logs, {len(wrong)} of them wrong: {wrong[:3]}")
    yield {"writers": 1000, "seconds": round(seconds, 2), "lines": 1000 * LINES}


def memory_kib(pid: int) -> int:
    """Return a process's proportional set size."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise RuntimeError(f"no Pss of {pid}")


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(place: Place, count: int = 1000) -> Iterator[dict[str, Any]]:
    """Yield the memory of our processes with `count` containers running."""
    services = {f"job{n}": place.service("/bin/sleep", "3600") for n in range(count)}
    argv = place.command(services, "--parallel", str(count))
    argv[argv.index("none")] = "json"
    process = subprocess.Popen(argv, env=place.environ, stderr=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, text=True)  # fmt: skip
    assert process.stderr is not None
    started = 0
    for line in process.stderr:
        started += '"container.started"' in line
        if started == count:
            break
    # Where an interpreter is a script that starts another, ours is the last.
    launchers = children(process.pid)
    pids = [process.pid, *launchers]
    memory = {pid: memory_kib(pid) for pid in pids}
    descriptors = {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in pids}
    process.send_signal(signal.SIGINT)
    process.stderr.read()
    process.wait()
    yield {
        "containers": count, "pss_kib": list(memory.values()),
        "kib_per_container": round(sum(memory.values()) / count, 1),
        "descriptors": list(descriptors.values()),
    }  # fmt: skip


def named(comm: str) -> list[int]:
    """Return the processes of a name."""
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text().strip() == comm[:15]:
                found.append(int(path.parent.name))
        except OSError:
            pass  # it has ended
    return found


def monitors(place: Place) -> Iterator[dict[str, Any]]:
    """Yield what podman and docker keep in memory for each running container."""
    archive = place.top / "rootfs.tar"
    peers.pack(place.top / "rootfs", archive)
    podman, docker = peers.Podman(place.top), peers.Docker(place.top)
    with docker.daemon():
        for engine, comm in ((podman, "conmon"), (docker, "containerd-shim-runc-v2")):
            engine.load(archive)
            with sleeping(engine.argv("/bin/sleep", "3600"), comm) as pid:
                yield {"monitor": comm, "kib": memory_kib(pid)}


@contextmanager
def sleeping(argv: tuple[str, ...], comm: str) -> Iterator[int]:
    """Run a peer's container; give the pid of its monitor process."""
    before = set(named(comm))
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not (found := set(named(comm)) - before) or not any(children(pid) for pid in found):
        if time.monotonic() > until or process.poll() is not None:
            raise RuntimeError(f"no {comm}")
        time.sleep(0.1)
    pid = max(found)
    yield pid
    for child in children(pid):
        os.kill(child, signal.SIGKILL)
    process.wait()


SCENARIOS: dict[str, Callable[[Place], Iterator[dict[str, Any]]]] = {
    "linear": linear, "running": running, "chain": chain, "grid": grid, "writers": writers,
    "monitors": monitors,
}  # fmt: skip


def main() -> None:
    """Measure and print one JSON object per figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", choices=[[], *SCENARIOS], default=[])
    asked = parser.parse_args()
    if os.geteuid():
        sys.exit("root is needed")
    for name in asked.scenarios or SCENARIOS:
        with tempfile.TemporaryDirectory(prefix="gocker-scale-", dir="/var/tmp") as top:
            for figures in SCENARIOS[name](Place(Path(top))):
                print(json.dumps({"scenario": name, **figures}), flush=True)


if __name__ == "__main__":
    main()
