"""R2: random SIGKILLs of gocker, and the same of crun and runc. ``python -m tests.long.killfuzz``

gocker: 200 kills during ``up`` of 50 containers with volumes; after ``down`` nothing may be left,
and the second ``up`` must succeed. Peers: 200 kills of a runtime that starts one container with
a volume; after ``delete --force`` the runs with leftovers are counted.

    python -m tests.long.killfuzz [--shots N] [--containers N] [--peers N] [--seed N]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.long.support import busybox_rootfs
from tests.support import machine
from tests.support.bundle import PURE_V1
from tests.support.command import Gocker
from tests.support.killfuzz import Fuzz, make_tree


def gocker(rootfs: Path, shots: int, containers: int, seed: int) -> int:
    """Kill gocker; return how many shots left something."""
    made = Gocker(image=f"rootfs:{rootfs}")
    bad = 0
    hit: Counter[str] = Counter()
    try:
        fuzz = Fuzz(made, containers, seed)
        print(f"gocker: up of {containers} takes {fuzz.whole_s:.2f} s", flush=True)
        for number in range(shots):
            shot = fuzz.shot()
            hit[shot.victim] += 1
            if shot.wrong:
                bad += 1
                print(f"  shot {number}, {shot.victim} after {shot.moment_s:.3f} s:", *shot.wrong,
                      sep="\n    ", flush=True)  # fmt: skip
            if number % 20 == 19:
                print(f"  {number + 1} shots: {bad} left something", flush=True)
    finally:
        made.close()
    print(f"gocker: {bad} of {shots} shots left something or broke the next command; "
          f"victims {dict(hit)}", flush=True)  # fmt: skip
    return bad


class Peer:
    """A runtime that starts one container of a bundle with user data bound into it."""

    def __init__(self, program: str, directory: Path, rootfs: Path) -> None:
        self.program = program
        self.directory = directory
        self.state = directory / "state"
        self.bundle = directory / "bundle"
        self.bundle.mkdir(parents=True)
        subprocess.run(["runc", "spec"], cwd=self.bundle, check=True)
        config = json.loads((self.bundle / "config.json").read_text())
        tree = directory / "user"
        make_tree(tree, 50)
        config["process"] |= {"terminal": False, "args": ["/bin/sleep", "0.3"]}
        config["root"] = {"path": str(rootfs), "readonly": True}
        config["mounts"].append({"destination": "/tmp", "type": "bind", "source": str(tree),
                                 "options": ["rbind", "rw"]})  # fmt: skip
        config["linux"]["resources"]["memory"] = {"limit": 64 << 20}
        (self.bundle / "config.json").write_text(json.dumps(config))

    def command(self, *words: str) -> list[str]:
        line = f'{PURE_V1} exec {self.program} --root {self.state} "$@"'
        return ["unshare", "-m", "sh", "-c", line, "sh", *words]

    def start(self, name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command("run", "--bundle", str(self.bundle), name),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def delete(self, name: str) -> None:
        subprocess.run(self.command("delete", "--force", name), capture_output=True, timeout=60)

    def leftovers(self, name: str, before: set[int]) -> dict[str, int]:
        """Return what is left of a container after ``delete --force``, by kind."""
        return {
            "processes": len(_living(before)),
            "cgroups": len(machine.cgroups_of([name])),
            "state directories": int((self.state / name).exists()),
        }

    def wipe(self, name: str, before: set[int]) -> None:
        """Remove what the runtime left, for the next shot."""
        machine.kill_left(before)
        for path in reversed(machine.cgroups_of([name])):
            os.rmdir(path)
        shutil.rmtree(self.state / name, ignore_errors=True)


def _living(before: set[int]) -> list[str]:
    """Return processes that are left and do not end in a second."""
    return machine.left_processes(before, timeout_s=1.0)


def peer(program: str, rootfs: Path, directory: Path, shots: int, seed: int) -> None:
    """Kill a peer; print how many shots left something."""
    chance = random.Random(seed)  # noqa: S311  # a repeatable test, not a secret
    made = Peer(program, directory, rootfs)
    began = time.monotonic()
    process = made.start("gkfirst")
    code = process.wait(60)
    whole_s = time.monotonic() - began
    made.delete("gkfirst")
    if code != 0:
        print(f"{program}: cannot run here (exit code {code})")
        return
    bad = 0
    kinds: Counter[str] = Counter()
    for number in range(shots):
        name = f"gk{os.getpid()}x{number}"
        before = machine.descendants(os.getpid())
        process = made.start(name)
        machine.wait_ended(process.pid, chance.uniform(0.0, 1.3 * whole_s))
        victims = [process.pid]
        below = sorted(machine.descendants(process.pid))
        if below and chance.random() < 0.5:
            victims = [chance.choice(below)]
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if process.pid not in victims:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                kinds["hung runtimes"] += 1
                process.kill()
        process.wait()
        made.delete(name)
        found = made.leftovers(name, before)
        bad += any(found.values())
        kinds.update({kind: count for kind, count in found.items() if count})
        made.wipe(name, before)
    print(f"{program}: {bad} of {shots} shots left something after delete --force: {dict(kinds)}; "
          f"run takes {whole_s:.2f} s", flush=True)  # fmt: skip


def main() -> int:
    """Run both parts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shots", type=int, default=200)
    parser.add_argument("--containers", type=int, default=50)
    parser.add_argument("--peers", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with busybox_rootfs() as rootfs:
        bad = gocker(rootfs, options.shots, options.containers, options.seed)
        machine.count_subreaper(+1)
        for program in ("crun", "runc"):
            if shutil.which(program) is None or not options.peers:
                continue
            directory = rootfs.with_name(f"{rootfs.name}-{program}")
            try:
                peer(program, rootfs, directory, options.peers, options.seed)
            finally:
                shutil.rmtree(directory, ignore_errors=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
