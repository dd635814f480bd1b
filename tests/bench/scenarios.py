"""What is measured: the same work given to every contender."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import peers
from tests.bench.measure import Contender, run
from tests.support import bundle

# The limits of peers.LIMITS.
LIMITS = {"mem_limit": "64m", "memswap_limit": "64m", "cpus": 1, "pids_limit": 64}
CHAIN = 10


@dataclass(frozen=True)
class Scenario:
    """Contenders for `units` containers of work; ratios are of the one called `base`."""

    name: str
    text: str
    units: int
    contenders: list[Contender]
    base: str


class Place:
    """The benchmark's directory: root file system, bundle, specs, states. Unmounted by `close`."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.rootfs = bundle.make_rootfs(top / "rootfs")
        # What /run is elsewhere. Mounts are in a namespace that ends with this process.
        (top / "state").mkdir()
        run("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(top / "state"))
        self.environ = {
            **bundle.environ(top / "gocker"),
            "GOCKER_RUN_ROOT": str(top / "state/gocker"),
        }
        made = bundle.make_bundle(self.spec("single", 1), "job1", top / "bundle", top / "gocker")
        run("sh", "-c", made.mount)
        config = made.read()
        # Every container gets a cgroup of its own, named like itself.
        del config["linux"]["cgroupsPath"]
        made.write(config)
        self.bundle = made.path

    def close(self) -> None:
        """Unmount and remove everything."""
        # podman, too, keeps its storage mounted on itself.
        for path in reversed(_mounts_below(self.top)):
            run("umount", path)
        shutil.rmtree(self.top)

    def spec(self, name: str, jobs: int, *, chain: bool = False) -> Path:
        """Write a spec of `jobs` jobs, side by side or one after the other."""
        service = {"image": f"rootfs:{self.rootfs}", "command": ["/bin/true"], **LIMITS}
        services: dict[str, dict[str, Any]] = {f"job{n}": {**service} for n in range(1, jobs + 1)}
        if chain:
            done = {"condition": "service_completed_successfully"}
            for number in range(2, jobs + 1):
                services[f"job{number}"]["depends_on"] = {f"job{number - 1}": done}
        return bundle.write_spec(self.top / f"{name}.yaml", "bench", services)

    def gocker(self, name: str, spec: Path, jobs: int, *options: str) -> Contender:
        """Return ``gocker up`` of a spec, by the interpreter itself."""
        argv = (sys.executable, "-m", "gocker", "up", *options, str(spec))

        def check() -> None:
            runs = max((self.top / "gocker/data/runs").glob("*/run.jsonl"), key=os.path.getmtime)
            exits = runs.read_text().count('"container.exited"')
            if exits != jobs:
                raise RuntimeError(f"{runs}: {exits} containers of {jobs}")

        return Contender(name, argv, self.environ, check=check)

    def oci(self, runtime: str, container: str) -> tuple[str, ...]:
        """Return ``RUNTIME run`` of the bundle."""
        state = str(self.top / "state" / runtime)
        return (runtime, "--root", state, "run", "--bundle", str(self.bundle), container)


def _mounts_below(top: Path) -> list[str]:
    with open("/proc/self/mountinfo") as mounts:
        paths = [line.split()[4] for line in mounts]
    return [path for path in paths if path.startswith(f"{top}/")]


def xargs(jobs: int, parallel: int, command: tuple[str, ...]) -> tuple[str, ...]:
    """Return a command that runs another for 1 to `jobs`, put in place of ``{}``."""
    inner = " ".join(command)
    return ("sh", "-c", f"seq {jobs} | xargs -P {parallel} -I{{}} {inner}")


def bubblewrap(rootfs: Path) -> tuple[str, ...]:
    """Return the nearest that bubblewrap has: no cgroup, limits, seccomp or overlay."""
    return (
        "bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", str(rootfs), "/",
        "--proc", "/proc", "--dev", "/dev", "--cap-drop", "ALL", "/bin/true",
    )  # fmt: skip


def batch(place: Place, jobs: int) -> Scenario:
    """Many jobs: one ``gocker up`` against xargs and the OCI runtimes."""
    spec = place.spec("batch", jobs)
    cpus = len(os.sched_getaffinity(0))
    contenders = []
    for parallel in (cpus, 2 * cpus):
        contenders.append(
            place.gocker(f"gocker up --parallel {parallel}", spec, jobs, "--parallel",
                         str(parallel)),
        )  # fmt: skip
        for runtime in ("crun", "runc"):
            argv = xargs(jobs, parallel, place.oci(runtime, "bench-{}"))
            contenders.append(Contender(f"xargs -P {parallel} {runtime} run", argv))
        argv = xargs(jobs, parallel, bubblewrap(place.rootfs))
        contenders.append(Contender(f"xargs -P {parallel} bwrap", argv))
    text = (
        f"{jobs} jobs `/bin/true` with limits of memory, swap, CPU and pids, our default seccomp "
        "profile, capabilities, masked paths and sysctls, network namespace with `lo`, output "
        "captured. gocker: one `gocker up` from exec to exit, interpreter, YAML, plan, logs and "
        "summary included, one overlay per container and one log file for each that writes. crun "
        "and runc: the same configuration; all containers share one overlay that was mounted "
        "before, and one file takes all output. bwrap: no cgroup, limits, seccomp or overlay."
    )
    return Scenario("batch", text, jobs, contenders, f"xargs -P {cpus} crun run")


def single(place: Place, docker: peers.Docker | None, podman: peers.Podman | None) -> Scenario:
    """One job, from a cold command."""
    spec = place.spec("single", 1)
    contenders = [place.gocker("gocker up", spec, 1)]
    contenders += [
        Contender(f"{runtime} run", place.oci(runtime, "bench")) for runtime in ("crun", "runc")
    ]
    if podman is not None:
        contenders.append(Contender("podman run --network none", podman.argv("/bin/true")))
    if docker is not None:
        contenders.append(Contender("docker run --network none", docker.argv("/bin/true")))
    text = (
        "One container `/bin/true` with the same limits, from exec to exit of the command; file "
        "caches warm, no cache of gocker's. crun and runc: as above, a ready bundle. docker: the "
        "daemon runs already, and its work is not in the CPU column."
    )
    base = "podman run --network none" if podman is not None else "crun run"
    return Scenario("single", text, 1, contenders, base)


def chain(place: Place) -> Scenario:
    """Jobs that wait for one another."""
    spec = place.spec("chain", CHAIN, chain=True)
    text = f"{CHAIN} jobs, each after the success of the one before."
    return Scenario("chain", text, CHAIN, [place.gocker("gocker up", spec, CHAIN)], "gocker up")


@contextmanager
def engines(
    top: Path, rootfs: Path, *, wanted: bool
) -> Iterator[tuple[peers.Docker | None, peers.Podman | None]]:
    """Bring up docker and podman with the image."""
    if not wanted:
        yield None, None
        return
    archive = top / "rootfs.tar"
    peers.pack(rootfs, archive)
    podman, docker = peers.Podman(top), peers.Docker(top)
    with ExitStack() as stack:
        stack.enter_context(docker.daemon())
        docker.load(archive)
        podman.load(archive)
        yield docker, podman
