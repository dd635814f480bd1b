"""The runtime core beside a C program with the same system calls: ``python -m tests.bench.core``.

Both start containers of one configuration, one after the other, from a process that is ready:
the core is the launcher with its children, asked through its socket; the other is limit.c, which
does nothing but the work. Needs cgroup v1, where limit.c knows the files; root; gcc.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gocker.cgroup import mounts as cgroup_mounts
from gocker.cli import config, opening, options
from gocker.linux import capability
from gocker.plan.model import Plan
from gocker.runtime import seccomp
from gocker.scheduler import links
from gocker.scheduler.launcher import Launcher
from gocker.scheduler.spawn import spawn
from gocker.state.roots import Roots
from tests.support import bundle

SOURCE = Path(__file__).parent / "limit.c"
LIMITS = {"mem_limit": "64m", "memswap_limit": "64m", "cpus": 1, "pids_limit": 64}
_FLAGS = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "strictatime": 1 << 24}  # mount.h
_NODES = (("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9))
_LINKS = (("/proc/self/fd", "fd"), ("/proc/self/fd/0", "stdin"), ("/proc/self/fd/1", "stdout"),
          ("/proc/self/fd/2", "stderr"), ("pts/ptmx", "ptmx"))  # fmt: skip
# Read at the end of a container: (controller, file).
_STATISTICS = (
    ("cpuacct", "cpuacct.usage"), ("cpuacct", "cpuacct.usage_all"), ("cpu", "cpu.stat"),
    ("memory", "memory.max_usage_in_bytes"), ("memory", "memory.failcnt"),
    ("memory", "memory.memsw.failcnt"), ("memory", "memory.oom_control"),
    ("pids", "pids.peak"), ("pids", "pids.events"),
)  # fmt: skip
_CONTROLLERS = ("memory", "pids", "cpuacct", "freezer", "cpu", "devices")


def plan_of(spec: Path, roots: Roots) -> Plan:
    """Return the plan of a spec."""
    loaded, project = options.load(config.parser().parse_args([str(spec)]), [str(spec)])
    return options.make_plan(loaded, project, roots)


class Core:
    """A launcher that has started its first containers, and the request for the next one."""

    def __init__(self, plan: Plan, roots: Roots) -> None:
        self._launcher = Launcher(*spawn())
        opening.prepare_launcher(self._launcher, roots, None)
        (self._made,) = plan.containers.values()
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._serial = itertools.count()
        self._id = f"core-{os.getpid()}"
        link = object.__new__(links.Link)
        link._launcher = self._launcher  # only to share what `Link.start` shares
        link.send = self._launcher.ask  # type: ignore[method-assign, assignment]
        self._request = {"op": "start", **links._configuration(self._made, self._id)}
        self._request["shared"] = link._share(self._request["config"])

    def container(self) -> None:
        """Start a container and wait for its end."""
        name = f"{self._id}-{next(self._serial)}"
        self._request["id"] = self._request["config"]["linux"]["cgroupsPath"] = name
        self._launcher.ask(self._request, (self._null,) * 3)
        while self._launcher.answer()["event"] != "exited":
            pass

    def close(self) -> None:
        """End the launcher, which removes what is left."""
        self._launcher.close()
        os.close(self._null)


def core(plan: Plan, roots: Roots, containers: int) -> float:
    """Return seconds per container, the removal of each included."""
    launched = Core(plan, roots)
    for _ in range(20):
        launched.container()
    begin = time.perf_counter()
    for _ in range(containers):
        launched.container()
    spent = time.perf_counter() - begin
    launched.close()
    return spent / containers


def recipe(made: Any, directories: dict[str, str]) -> str:
    """Return what limit.c is to do for each container of this configuration."""
    oci, linux = made.config, made.config["linux"]
    lines: list[tuple[Any, ...]] = []
    number = {name: at for at, name in enumerate(_CONTROLLERS)}
    lines += [("cgroup", number[name], directories[name], name) for name in _CONTROLLERS]
    lines += _limits(number, linux["resources"])
    lines += [("stat", number[controller], file) for controller, file in _STATISTICS]
    for mount in oci["mounts"]:
        kind, target = mount["type"], mount["destination"]
        words = mount.get("options", [])
        data = ",".join(word for word in words if word not in _FLAGS)
        flags = sum(_FLAGS.get(word, 0) for word in words)
        if kind == "cgroup":
            kind, flags, data = "tmpfs", 2 | 4 | 8, "mode=755,size=64k"
        lines.append(("mount", mount["source"], target, kind, flags, data))
    lines += [("file", item["path"], "x" * len(item["content"]) or "x") for item in made.files]
    lines += [("node", name, 1, minor) for name, minor in _NODES] + [("node", "tty", 5, 0)]
    lines += [("link", target, name) for target, name in _LINKS]
    for name, value in linux.get("sysctl", {}).items():
        lines.append(("sysctl", "proc/sys/" + name.replace(".", "/"), value))
    lines.append(("oom_score_adj", oci["process"].get("oomScoreAdj", 0)))
    for path in linux["maskedPaths"]:
        lines.append(("mask", path[1:], "dir" if os.path.isdir(path) else "file"))
    lines += [("readonly", path[1:]) for path in linux["readonlyPaths"]]
    kept = capability.mask(oci["process"]["capabilities"]["bounding"])
    lines += [("drop", bit) for bit in range(len(capability.NAMES)) if not kept >> bit & 1]
    lines.append(("caps", kept))
    for limit in oci["process"]["rlimits"]:
        kind = getattr(resource, limit["type"])
        lines.append(("rlimit", kind, limit["soft"], limit["hard"]))
    return "".join(
        "\t".join(str(word).replace("\n", " ") for word in line) + "\n" for line in lines
    )


def _limits(number: dict[str, int], resources: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return what is written before the start; a fifth word: and read back."""
    memory, cpu = resources["memory"], resources["cpu"]
    lines: list[tuple[Any, ...]] = [
        ("limit", number[controller], file, value, "read")
        for controller, file, value in (
            ("memory", "memory.limit_in_bytes", memory["limit"]),
            ("memory", "memory.memsw.limit_in_bytes", memory["swap"]),
            ("cpu", "cpu.cfs_period_us", cpu["period"]),
            ("cpu", "cpu.cfs_quota_us", cpu["quota"]),
            ("pids", "pids.max", resources["pids"]["limit"]),
        )
    ]
    lines.append(("limit", number["devices"], "devices.deny", "a"))
    for rule in resources["devices"]:
        if rule["allow"]:
            major, minor = rule.get("major", "*"), rule.get("minor", "*")
            text = f"{rule['type']} {major}:{minor} {rule['access']}"
            lines.append(("limit", number["devices"], "devices.allow", text))
    return lines


def limit(program: Path, plan: Plan, top: Path, containers: int) -> float:
    """Return seconds per container of limit.c."""
    (made,) = plan.containers.values()
    layout = cgroup_mounts.read()
    directories = {name: str(layout.v1[name].directory) for name in _CONTROLLERS}
    (top / "recipe").write_text(recipe(made, directories))
    (top / "filter").write_bytes(seccomp.program(made.config["linux"]["seccomp"])[0])
    with tempfile.TemporaryDirectory(dir=top) as scratch:
        command = [str(program), str(top / "recipe"), made.lower[0], scratch, str(top / "filter"),
                   str(containers + 20)]  # fmt: skip
        result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"limit.c: {result.stderr}")
    figures = [int(line) / 1e9 for line in result.stdout.split()]
    return statistics.fmean(figures[20:])


def compare(top: Path, rounds: int, containers: int) -> dict[str, list[float]]:
    """Return seconds per container of both, measured in turns."""
    rootfs = bundle.make_rootfs(top / "rootfs")
    spec = bundle.write_spec(
        top / "core.yaml", "core",
        {"job": {"image": f"rootfs:{rootfs}", "command": ["/bin/true"], **LIMITS}},
    )  # fmt: skip
    program = top / "limit"
    subprocess.run(["gcc", "-O2", "-o", str(program), str(SOURCE)], check=True)
    found: dict[str, list[float]] = {"core": [], "limit": []}
    with Roots.open(bundle.environ(top / "gocker")) as roots:
        plan = plan_of(spec, roots)
        for _ in range(rounds):
            found["limit"].append(limit(program, plan, top, containers))
            found["core"].append(core(plan, roots, containers))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--containers", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    if os.geteuid():
        sys.exit("root is needed")
    with tempfile.TemporaryDirectory(prefix="gocker-core-", dir="/var/tmp") as top:
        found = compare(Path(top), asked.rounds, asked.containers)
    ratios = [one / other for one, other in zip(found["core"], found["limit"], strict=True)]
    print(json.dumps({
        "core_ms": statistics.median(found["core"]) * 1e3,
        "limit_ms": statistics.median(found["limit"]) * 1e3,
        "ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios),
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
