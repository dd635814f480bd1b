"""What is measured: the same work given to every contender."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
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
        self.made = made
        self.bundle = made.path

    def close(self) -> None:
        """Unmount and remove everything."""
        # podman, too, keeps its storage mounted on itself.
        for path in reversed(_mounts_below(self.top)):
            run("umount", path)
        shutil.rmtree(self.top)

    def spec(self, name: str, jobs: int, *, chain: bool = False) -> Path:
        """Write a spec of `jobs` jobs, side by side or one after the other."""
        services = _services({"image": f"rootfs:{self.rootfs}", "command": ["/bin/true"]}, jobs)
        if chain:
            _chain(services)
        return bundle.write_spec(self.top / f"{name}.yaml", "bench", services)

    def compose(self, name: str, jobs: int, *, chain: bool = False) -> Path:
        """Write the same for docker-compose and podman-compose, without a network."""
        # podman's defaults need CAP_SYS_RESOURCE where our own limits are lower.
        nofile = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        service = {
            "image": peers.IMAGE, "command": ["/bin/true"], "network_mode": "none",
            "ulimits": {"nofile": {"soft": nofile, "hard": nofile}, "nproc": 1024},
        }  # fmt: skip
        services = _services(service, jobs)
        if chain:
            _chain(services)
        path = self.top / f"compose-{name}.yaml"
        path.write_text(json.dumps({"version": "2.4", "services": services}))
        return path

    def waiting(self, name: str, count: int) -> Path:
        """Write a spec of `count` services that wait."""
        service = {"image": f"rootfs:{self.rootfs}", "command": ["/bin/sleep", "3600"]}
        services = _services(service, count)
        return bundle.write_spec(self.top / f"{name}.yaml", f"bench{name}", services)

    def command(self, *words: str) -> tuple[str, ...]:
        """Return a gocker command as an installed wheel has it: a script of three lines."""
        script = self.top / "gocker-script"
        if not script.exists():
            script.write_text("import sys\nfrom gocker.cli.main import main\nsys.exit(main())\n")
        return (sys.executable, str(script), *words)

    def gocker(self, name: str, spec: Path, jobs: int, *options: str) -> Contender:
        """Return ``gocker up`` of a spec, by the interpreter itself."""
        argv = self.command("up", *options, str(spec))

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


def _services(service: dict[str, Any], jobs: int) -> dict[str, dict[str, Any]]:
    return {f"job{number}": {**service, **LIMITS} for number in range(1, jobs + 1)}


def _chain(services: dict[str, dict[str, Any]]) -> None:
    done = {"condition": "service_completed_successfully"}
    for number in range(2, len(services) + 1):
        services[f"job{number}"]["depends_on"] = {f"job{number - 1}": done}


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


def batch(place: Place, jobs: int, *, quick: bool = False) -> Scenario:
    """Many jobs: one ``gocker up`` against xargs and the OCI runtimes."""
    spec = place.spec("batch", jobs)
    cpus = len(os.sched_getaffinity(0))
    contenders = []
    for parallel in (cpus,) if quick else (cpus, 2 * cpus):
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


def composed(place: Place, engines: Engines, jobs: int) -> Scenario:
    """The same jobs by the two composes: fewer, as each takes them a hundred times as long."""
    spec = place.spec("composed", jobs)
    contenders = [place.gocker("gocker up", spec, jobs)]
    contenders += engines.composes(place.compose("composed", jobs), "composed")
    text = (
        f"{jobs} jobs as in the batch, by one Compose file. The composes: `network_mode: none`, "
        "an imported image, containers of the round before removed untimed. docker's daemon runs "
        "already, and its work is not in the CPU column."
    )
    return Scenario("compose", text, jobs, contenders, "gocker up")


def single(place: Place, engines: Engines) -> Scenario:
    """One job, from a cold command."""
    spec = place.spec("single", 1)
    contenders = [
        place.gocker("gocker up --no-cache", spec, 1, "--no-cache"),
        place.gocker("gocker up, unchanged spec", spec, 1),
    ]
    contenders += [
        Contender(f"{runtime} run", place.oci(runtime, "bench")) for runtime in ("crun", "runc")
    ]
    base = "crun run"
    if engines.podman is not None:
        base = "podman run --network none"
        contenders.append(Contender(base, engines.podman.argv("/bin/true")))
    if engines.docker is not None:
        argv = engines.docker.argv("/bin/true")
        contenders.append(Contender("docker run --network none", argv))
    text = (
        "One container `/bin/true` with the same limits, from exec to exit of the command; file "
        "caches warm. gocker: without its plan cache, and with the plan of the round before. crun "
        "and runc: as above, a ready bundle. docker: the daemon runs already, and its work is not "
        "in the CPU column."
    )
    return Scenario("single", text, 1, contenders, base)


def chain(place: Place, engines: Engines) -> Scenario:
    """Jobs that wait for one another."""
    spec = place.spec("chain", CHAIN, chain=True)
    contenders = [place.gocker("gocker up", spec, CHAIN)]
    contenders += engines.composes(
        place.compose("chain", CHAIN, chain=True), "chain", podman=False
    )  # podman-compose starts all of them at once
    text = f"{CHAIN} jobs, each after the success of the one before."
    base = contenders[-1].name
    return Scenario("chain", text, CHAIN, contenders, base)


@contextmanager
def executions(place: Place, engines: Engines) -> Iterator[Scenario]:
    """A program in a container that runs already."""
    spec = place.waiting("exec", 1)
    gocker = ("-p", "benchexec")
    contenders = [
        Contender("gocker exec", place.command(*gocker, "exec", "-T", "job1", "/bin/true"),
                  place.environ),
        Contender("python -c pass", (sys.executable, "-c", "pass")),
    ]  # fmt: skip
    made = bundle.make_bundle(spec, "job1", place.top / "exec-bundle", place.top / "gocker")
    run("sh", "-c", made.mount)
    config = made.read()
    del config["linux"]["cgroupsPath"]
    made.write(config)
    with ExitStack() as stack:
        run(*place.command("up", "-d", str(spec)), environ=place.environ)
        stack.callback(run, *place.command(*gocker, "down", "-t", "0"), environ=place.environ)
        for runtime in ("crun", "runc"):
            command = (runtime, "--root", str(place.top / "state" / runtime))
            peers.start(*command, "run", "-d", "--bundle", str(made.path), "bench-exec")
            stack.callback(run, *command, "delete", "-f", "bench-exec")
            argv = (*command, "exec", "bench-exec", "/bin/true")
            contenders.append(Contender(f"{runtime} exec", argv))
        contenders += engines.executions(stack)
        text = "`/bin/true` in a container that runs, from exec to exit of the command."
        yield Scenario("exec", text, 1, contenders, "crun exec")


@contextmanager
def listing(place: Place, count: int) -> Iterator[Scenario]:
    """``ps`` while many containers run."""
    spec = place.waiting("ps", count)
    gocker = ("-p", "benchps")
    run(*place.command("up", "-d", "--parallel", str(count), str(spec)), environ=place.environ)
    try:
        text = f"{count} containers run."
        contenders = [
            Contender("gocker ps", place.command(*gocker, "ps"), place.environ),
            Contender("gocker ps --quiet", place.command(*gocker, "ps", "-q"), place.environ),
            Contender("python -c pass", (sys.executable, "-c", "pass")),
        ]
        yield Scenario("ps", text, 1, contenders, "python -c pass")
    finally:
        run(*place.command(*gocker, "down", "-t", "0"), environ=place.environ)


@dataclass(frozen=True)
class Engines:
    """The engines that are there."""

    docker: peers.Docker | None = None
    podman: peers.Podman | None = None

    def composes(self, spec: Path, name: str, *, podman: bool = True) -> list[Contender]:
        """Return docker-compose and podman-compose with a file, as far as they are there."""
        found = []
        if self.docker is not None and shutil.which("docker-compose"):
            argv = ("docker-compose", "-f", str(spec), "-p", f"d{name}")
            environ = {"DOCKER_HOST": self.docker.socket}
            found.append(_compose("docker-compose up", argv, environ))
        if podman and self.podman is not None and shutil.which("podman-compose"):
            argv = ("podman-compose", "--podman-path", self.podman.script(), "-f", str(spec),
                    "-p", f"p{name}")  # fmt: skip
            found.append(_compose("podman-compose up", argv, {}))
        return found

    def executions(self, stack: ExitStack) -> list[Contender]:
        """Return ``exec`` in a waiting container of each; `stack` ends that."""
        found = []
        for name, engine in (("podman", self.podman), ("docker", self.docker)):
            if engine is None:
                continue
            *begin, image, _, _ = engine.argv("/bin/sleep", "3600")
            at = begin.index("run") + 1
            begin[at:at] = ["-d", "--name", "bench-exec"]
            peers.start(*begin, image, "/bin/sleep", "3600")
            command = begin[: at - 1]
            stack.callback(run, *command, "rm", "-f", "bench-exec")
            argv = (*command, "exec", "bench-exec", "/bin/true")
            found.append(Contender(f"{name} exec", argv))
        return found


def _compose(name: str, argv: tuple[str, ...], environ: dict[str, str]) -> Contender:
    def down() -> None:
        subprocess.run([*argv, "down", "-t", "0"], env={**os.environ, **environ},
                       capture_output=True, timeout=120)  # fmt: skip

    return Contender(name, (*argv, "up"), environ, prepare=down)


@contextmanager
def engines(place: Place, say: Callable[[str], None]) -> Iterator[Engines]:
    """Bring up docker and podman with the image, as far as they can be had."""
    archive = place.top / "rootfs.tar"
    peers.pack(place.rootfs, archive)
    docker: peers.Docker | None = peers.Docker(place.top)
    podman: peers.Podman | None = peers.Podman(place.top)
    with ExitStack() as stack:
        try:
            assert docker is not None
            stack.enter_context(docker.daemon())
            docker.load(archive)
        except (RuntimeError, OSError) as error:
            say(f"no docker: {error}")
            docker = None
        try:
            assert podman is not None
            podman.load(archive)
        except (RuntimeError, OSError) as error:
            say(f"no podman: {error}")
            podman = None
        yield Engines(docker, podman)
