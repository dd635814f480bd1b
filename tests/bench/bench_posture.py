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
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from gocker.scheduler import spawn
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


def variants(top: Path, only: list[str] | None = None) -> list[Variant]:
    """Return the default and others, with a root file system and roots in `top`."""
    for root in ("data", "run"):
        (top / root).mkdir(mode=0o700, exist_ok=True)
    image = f"rootfs:{bundle.make_rootfs(top / 'rootfs')}"
    return [
        Variant(top, key, keys, image)
        for key, keys in VARIANTS.items()
        if only is None or key in ("default", *only)
    ]


def compare(
    top: Path, jobs: int, turns: int, *, strace: bool, missing: dict[str, str],
    only: list[str] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the figures of each variant; `missing` gets those that do not run here."""
    chosen = variants(top, only)
    for variant in list(chosen):
        try:
            variant.up(2)
        except RuntimeError as error:
            missing[variant.name] = " ".join(str(error).split())[-200:]
            chosen.remove(variant)
    differences: dict[str, list[float]] = {variant.name: [] for variant in chosen}
    for _ in range(turns):
        medians = {}
        for variant in chosen:
            found = variant.up(jobs)
            variant.starts += found[1:]
            medians[variant.name] = statistics.median(found[1:])
        for name, value in medians.items():
            differences[name].append(value - medians["default"])
    rows = []
    for variant in chosen:
        low, middle, high = statistics.quantiles(variant.starts, n=4)
        rows.append({
            "name": variant.name, "median_ms": middle, "low_ms": low, "high_ms": high,
            "change_ms": statistics.median(differences[variant.name]),
            "calls": variant.calls() if strace else 0.0,
        })  # fmt: skip
    return rows


def read_only_interpreter(top: Path, rounds: int) -> dict[str, float]:
    """Return the CPU of a launcher's start, in ms, and how much of it is the second execve."""
    taken: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(rounds):
        for second, spent in taken.items():
            spent.append(_launcher_cpu(top, read_only=second))
    with_ms, without_ms = (1e3 * statistics.median(taken[key]) for key in (True, False))
    return {"with_ms": with_ms, "without_ms": without_ms, "price_ms": with_ms - without_ms}


def _launcher_cpu(top: Path, *, read_only: bool) -> float:
    """Start a launcher whose front goes away at once; return its CPU in seconds."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    code = spawn._CODE.format(root=str(bundle.REPOSITORY), arm="")
    last = [] if read_only else ["read-only"]
    argv = [sys.executable, "-I", "-S", "-c", code, str(theirs.fileno()), *last]
    theirs.set_inheritable(True)
    pid = os.posix_spawn(sys.executable, argv, {})
    theirs.close()
    ours.close()
    usage = os.wait4(pid, 0)[2]
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--no-strace", action="store_true")
    parser.add_argument("--only", nargs="*")
    asked = parser.parse_args()
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="gocker-price-", dir="/var/tmp") as name:
        strace = not asked.no_strace
        rows = compare(Path(name), asked.jobs, asked.turns, strace=strace, missing=missing,
                       only=asked.only)  # fmt: skip
        once = read_only_interpreter(Path(name), 2 * asked.turns)
    for name, why in missing.items():
        print(f"{name}: not here: {why}", file=sys.stderr)
    print(f"{'ms to execve':<26} {'median':>7} {'25 %':>7} {'75 %':>7} {'+/-':>7} {'calls':>7}")
    for row in rows:
        print(f"{row['name']:<26} {row['median_ms']:7.3f} {row['low_ms']:7.3f} "
              f"{row['high_ms']:7.3f} {row['change_ms']:+7.3f} {row['calls']:7.1f}")  # fmt: skip
    print(f"read-only re-exec: {once['price_ms']:.1f} ms of CPU, once per launcher")


if __name__ == "__main__":
    os.umask(0o022)
    main()
