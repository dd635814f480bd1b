"""``gocker-oci run`` of /bin/true beside ``runc run`` and ``crun run``, and what stays in memory.

    python -m tests.bench.oci [--rounds 20]

Prints for each, taken in turns, the median of wall time and of CPU time with that of its
children, and the median ratio to runc of the same round; then the proportional set size of
processes of ours per running container. Needs root, runc, crun and busybox-static.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.bundle import PURE_V1
from tests.support.oci import COMMAND, Runtime


def seconds(command: list[str]) -> tuple[float, float]:
    """Return wall and CPU time of a command that has to succeed."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return wall, usage.ru_utime + usage.ru_stime


def pss_kib(pids: list[int]) -> int:
    """Return the proportional set size of processes."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def ours() -> list[int]:
    """Return the processes that execute this interpreter for gocker-oci."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
        if b"gocker/runtime/oci/__main__.py" in command:
            found.append(int(name))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as directory:
        runtime = Runtime(Path(directory))
        runtime.config["process"]["args"] = ["/bin/true"]
        runtime.config["ociVersion"] = "1.0.2"  # what the oldest of them takes
        runtime.write()
        place = ["run", "-b", str(runtime.bundle), runtime.name]
        crun = f"{PURE_V1} exec crun --root {directory}/crun {' '.join(place)}"
        commands = {
            "gocker-oci": [*COMMAND, "--root", str(runtime.root), *place],
            "runc": ["runc", "--root", f"{directory}/runc", *place],
            "crun (and unshare)": ["unshare", "-m", "sh", "-c", crun],
            "python -I -S -c pass": [sys.executable, "-I", "-S", "-c", "pass"],
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                times[name].append(seconds(command))
        print(f"{'':<24}{'wall':>11}{'CPU':>11}{'of runc wall':>14}{'CPU':>7}")
        for name, values in times.items():
            text = f"{name:<24}"
            for kind in (0, 1):
                text += f"{statistics.median(value[kind] for value in values) * 1000:8.1f} ms"
            for kind, width in ((0, 14), (1, 7)):
                pairs = zip(values, times["runc"], strict=True)
                ratio = statistics.median(own[kind] / runc[kind] for own, runc in pairs)
                text += f"{ratio:{width}.2f}"
            print(text)
        runtime.config["process"]["args"] = ["/bin/sleep", "100"]
        runtime.create()
        waiting = pss_kib(ours())
        runtime.start()
        print(f"memory of ours, created: {waiting} KiB, running: {pss_kib(ours())} KiB")
        print(json.dumps(runtime.state()["status"]))
        runtime.delete("--force")


if __name__ == "__main__":
    main()
