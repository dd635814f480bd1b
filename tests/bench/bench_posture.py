"""The price of each layer of the posture: ``python -m tests.bench.bench_posture`` as root.

The same jobs (`/bin/true`, one after the other) with one layer left out at a time, in turns, so
that all variants meet the same noise. Prints the median and the quartiles of the time from the
request to execve, the difference from the default in the same turn, and the system calls of
launcher and init per container.
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
from typing import Any

from tests.support import bundle

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "without Landlock": {"x-gocker": {"landlock": "off"}},
    "without seccomp": {"security_opt": ["seccomp=unconfined"]},
    "without no_new_privs": {"security_opt": ["no-new-privileges:false"]},
    "with the user namespace": {"userns_mode": "auto"},
    "compat": {"x-gocker": {"profile": "compat"}},
    "strict": {"x-gocker": {"profile": "strict"}, "user": "1000:1000", "mem_limit": "64m",
               "cpus": 1, "network_mode": "none"},
}  # fmt: skip
_CALL = re.compile(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$")


class Variant:
    """A spec of jobs with one posture."""

    def __init__(self, top: Path, name: str, keys: dict[str, Any], image: str) -> None:
        self.name = name
        self.top = top
        self.starts: list[float] = []
        self.image = image
        self.keys = keys

    def spec(self, jobs: int) -> Path:
        service = {"image": self.image, "command": ["/bin/true"], **self.keys}
        path = self.top / f"{self.name.replace(' ', '-')}-{jobs}.yaml"
        return bundle.write_spec(path, "price", {f"job{n}": service for n in range(jobs)})

    def up(self, jobs: int, tracer: tuple[str, ...] = ()) -> list[float]:
        """Run the jobs; return the times from request to execve in milliseconds."""
        command = bundle.command("up", str(self.spec(jobs)), "--parallel", "1",
                                 "--log-format", "json", "--no-summary")  # fmt: skip
        result = subprocess.run([*tracer, *command], env=bundle.environ(self.top),
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True)  # fmt: skip
        if result.returncode:
            raise RuntimeError(f"{self.name}: {result.stderr[-2000:]}")
        records = [json.loads(line) for line in result.stderr.splitlines() if line[:1] == "{"]
        return [1e3 * r["start_s"] for r in records if r["event"] == "container.started"]

    def calls(self) -> float:
        """Return the system calls per container, as the difference of two runs."""
        return (self._count(60) - self._count(20)) / 40

    def _count(self, jobs: int) -> int:
        path = self.top / "strace"
        self.up(jobs, tracer=("strace", "-f", "-c", "-o", str(path)))
        return sum(int(m[1]) for m in map(_CALL.match, path.read_text().splitlines()) if m
                   and m[2] != "total")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--no-strace", action="store_true")
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gocker-price-", dir="/var/tmp") as name:
        top = Path(name)
        for root in ("data", "run"):
            (top / root).mkdir(mode=0o700)
        image = f"rootfs:{bundle.make_rootfs(top / 'rootfs')}"
        variants = [Variant(top, key, keys, image) for key, keys in VARIANTS.items()
                    if arguments.only is None or key in ("default", *arguments.only)]  # fmt: skip
        report(variants, arguments)


def report(variants: list[Variant], arguments: argparse.Namespace) -> None:
    differences: dict[str, list[float]] = {variant.name: [] for variant in variants}
    for variant in list(variants):
        try:
            variant.up(2)
        except RuntimeError as error:
            print(f"{variant.name}: not here: {str(error)[-200:]}", file=sys.stderr)
            variants.remove(variant)
    for _ in range(arguments.turns):
        medians = {}
        for variant in variants:
            found = variant.up(arguments.jobs)
            variant.starts += found[1:]
            medians[variant.name] = statistics.median(found[1:])
        for name, value in medians.items():
            differences[name].append(value - medians["default"])
    print(f"{'ms to execve':<26} {'median':>7} {'25 %':>7} {'75 %':>7} {'+/-':>7} {'calls':>7}")
    for variant in variants:
        low, middle, high = statistics.quantiles(variant.starts, n=4)
        calls = "" if arguments.no_strace else f"{variant.calls():7.1f}"
        change = statistics.median(differences[variant.name])
        print(f"{variant.name:<26} {middle:7.3f} {low:7.3f} {high:7.3f} {change:+7.3f} {calls}")


if __name__ == "__main__":
    os.umask(0o022)
    main()
