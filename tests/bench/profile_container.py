"""Where the time of one container goes: ``python -m tests.bench.profile_container`` as root.

First the steps of launcher and init, one container after the other; then the system calls per
container of the front and of launcher plus init, as the difference of a long and a short run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import bundle

LIMITS = {"mem_limit": "64m", "cpus": 1, "pids_limit": 64}
_UP = """
import sys
from gocker.scheduler import spawn
sys.executable = {executable!r}
spawn._CODE = spawn._CODE.replace({old!r}, {new!r})
from gocker.cli.main import run
from gocker.scheduler import links
links.UNITS_PER_LAUNCHER = sys.maxsize  # one launcher: its steps are the ones looked at
sys.exit(run(["up", "--parallel", "1", "--log-format", "none", {spec!r}]))
"""
_MAIN = "from gocker.runtime.interpreter import main; main()"
_STRACE_LINE = re.compile(r"\s*[\d.]+\s+([\d.]+)\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$")


class Place:
    """A rootfs, specs and gocker's state in a directory of their own."""

    def __init__(self, top: Path, image: str | None) -> None:
        self.top = top
        self.image = image or f"rootfs:{bundle.make_rootfs(top / 'rootfs')}"

    def spec(self, jobs: int) -> Path:
        """Write a spec of jobs that do nothing."""
        service = {"image": self.image, "command": ["/bin/true"], **LIMITS}
        services = {f"job{number}": service for number in range(jobs)}
        return bundle.write_spec(self.top / f"{jobs}.yaml", "profile", services)

    def up(self, jobs: int, *, executable: str = sys.executable, new: str = _MAIN,
           tracer: tuple[str, ...] = ()) -> None:  # fmt: skip
        """Run the jobs one after the other, with another launcher or below a tracer."""
        code = _UP.format(executable=executable, old=_MAIN, new=new, spec=str(self.spec(jobs)))
        command = [*tracer, sys.executable, "-c", code]
        subprocess.run(command, env=bundle.environ(self.top), check=True,
                       stdin=subprocess.DEVNULL)  # fmt: skip


class Step(NamedTuple):
    """One row: times in µs; `sleeps` are voluntary context switches, each a wait for the kernel."""

    process: str
    name: str
    median: float
    least: float
    faults: float
    sleeps: float


def steps(place: Place, jobs: int) -> list[Step]:
    """Return the steps in the order of a container."""
    path = place.top / "steps.json"
    new = f"from tests.bench.probed_launcher import main; main({str(path)!r}, {jobs})"
    place.up(jobs, new=new)
    found: dict[str, Any] = json.loads(path.read_text())
    table = []
    for column, (where, name) in enumerate(found["steps"]):
        cells = [row[column] for row in found["rows"]]
        spent = [cell[0] / 1e3 for cell in cells]
        faults, sleeps = (statistics.fmean(cell[number] for cell in cells) for number in (1, 2))
        median = statistics.median(spent)
        table.append(Step(where, name.strip("_"), median, min(spent), faults, sleeps))
    return table


def calls(place: Place, jobs: int, *, front: bool) -> dict[str, tuple[int, float]]:
    """Return name -> (number, seconds in the kernel) of one run's system calls."""
    output = place.top / "strace"
    strace = ("strace", "-c", "-o", str(output))
    if front:
        place.up(jobs, tracer=strace)
    else:
        script = place.top / "python"
        script.write_text(
            f'#!/bin/sh\nexec /usr/bin/strace -f -c -o {output} {sys.executable} "$@"\n'
        )
        script.chmod(0o700)
        place.up(jobs, executable=str(script))
    found = {}
    for line in output.read_text().splitlines():
        match = _STRACE_LINE.match(line)
        if match:
            found[match[3]] = (int(match[2]), float(match[1]))
    found.pop("total", None)
    return found


def per_container(place: Place, jobs: int, *, front: bool) -> dict[str, float]:
    """Return system calls per container: what a longer run makes more than a shorter one."""
    short, long = calls(place, jobs, front=front), calls(place, 2 * jobs, front=front)
    more = {name: (long[name][0] - short.get(name, (0, 0.0))[0]) / jobs for name in long}
    return {name: number for name, number in more.items() if number >= 0.05}


def crun_calls(top: Path, made: bundle.Bundle) -> dict[str, int]:
    """Return the system calls of one ``crun run`` of a bundle, all of its processes."""
    output = top / "strace-crun"
    crun = ("crun", "--root", str(top / "crun"), "run", "--bundle", str(made.path), "profile")
    command = ["strace", "-f", "-c", "-o", str(output), *crun]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    matches = map(_STRACE_LINE.match, output.read_text().splitlines())
    return {match[3]: int(match[2]) for match in matches if match and match[3] != "total"}


def print_steps(table: list[Step]) -> None:
    """Print the steps as Markdown."""
    print("| process | step | median µs | least µs | page faults | sleeps |")
    print("|---|---|---|---|---|---|")
    for step in table:
        figures = f"{step.median:.0f} | {step.least:.0f} | {step.faults:.0f} | {step.sleeps:.1f}"
        print(f"| {step.process} | {step.name} | {figures} |")
    for process in ("launcher", "init"):
        mine = [step for step in table if step.process == process]
        median, least = sum(step.median for step in mine), sum(step.least for step in mine)
        print(f"| {process} | sum | {median:.0f} | {least:.0f} | | |")


def print_calls(front: dict[str, float], back: dict[str, float]) -> None:
    """Print system calls per container as Markdown, most frequent first."""
    print("\n| system call | launcher and init | front |\n|---|---|---|")
    names = sorted({*front, *back}, key=lambda name: -back.get(name, 0) - front.get(name, 0))
    for name in names:
        print(f"| {name} | {back.get(name, 0):.1f} | {front.get(name, 0):.1f} |")
    print(f"| all | {sum(back.values()):.0f} | {sum(front.values()):.0f} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--image", help="default: a busybox tree")
    parser.add_argument("--no-strace", action="store_true")
    options = parser.parse_args()
    if os.geteuid():
        sys.exit("root is needed")
    with tempfile.TemporaryDirectory(prefix="gocker-profile-", dir="/var/tmp") as top:  # on a disk
        place = Place(Path(top), options.image)
        print_steps(steps(place, options.jobs))
        if not options.no_strace:
            few = max(10, options.jobs // 10)
            back = per_container(place, few, front=False)
            print_calls(per_container(place, few, front=True), back)


if __name__ == "__main__":
    main()
