"""Many commands at once on one project: what each said, and what is there afterwards (R23)."""

from __future__ import annotations

import random
import subprocess
from dataclasses import dataclass, field

from tests.support import machine
from tests.support.command import Gocker, Spec
from tests.support.living import service

SPEC: Spec = {"services": {"db": service(), "web": service(depends_on=["db"])}}
# What a command may end with: nothing runs where it wants to act, or another one ended it.
GOOD = {
    "up": (0, 1), "down": (0,), "ps": (0,), "run": (0, 1, 130, 137, 143), "stop": (0,),
    "start": (0, 1, 2), "restart": (0, 1, 2), "kill": (0,), "ls": (0,),
}  # fmt: skip
WORDS = ("locked", "in use", "Traceback", "internal error", "supervisor has ended")
PATIENCE_S = 240.0


@dataclass
class Round:
    """One round: complaints about it; empty if all was well."""

    complaints: list[str] = field(default_factory=list)
    ended: int = 0


def commands(path: str) -> dict[str, list[str]]:
    return {
        "up": ["up", path, "-d"], "down": ["down", "-p", "test", "-t", "2"],
        "ps": ["ps", "-p", "test", "-a"], "run": ["run", "-f", path, "--no-deps", "web", "true"],
        "stop": ["stop", "-p", "test", "-t", "2"], "start": ["start", path],
        "restart": ["restart", path, "-t", "2"], "kill": ["kill", "-p", "test"], "ls": ["ls"],
    }  # fmt: skip


def play(gocker: Gocker, count: int, seed: int, kinds: tuple[str, ...]) -> Round:
    """Run `count` commands at once, then `up` and `down`; return what was wrong."""
    rng = random.Random(seed)  # noqa: S311  # the same commands for the same seed
    path = str(gocker.write(SPEC))
    known = commands(path)
    chosen = [rng.choice(kinds) for _ in range(count)]
    running = [(name, gocker.popen(*known[name])) for name in chosen]
    found = Round()
    for name, process in running:
        try:
            out, err = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            found.complaints.append(f"{name}: does not end: {process.communicate()!r}")
            continue
        found.ended += 1
        text = (out + err).decode("utf-8", "replace")
        # A signal that comes when all is over ends it, which a shell shows as 128 + n.
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        if code not in GOOD[name] or any(word in text for word in WORDS):
            found.complaints.append(f"{name}: {process.returncode}: {text}")
    _check_serial(gocker, path, found)
    return found


def _check_serial(gocker: Gocker, path: str, found: Round) -> None:
    """Whatever the order was: `up` gives two running containers, `down` none and nothing else."""
    up = gocker.command("up", path, "-d")
    if up.code != 0:
        found.complaints.append(f"up after all: {up}")
    running = gocker.command("ps", "-p", "test", "--services").out.split()
    if sorted(running) != ["db", "web"]:
        found.complaints.append(f"running after up: {running}: {up}")
    down = gocker.command("down", "-p", "test", "-t", "2")
    if down.code != 0:
        found.complaints.append(f"down after all: {down}")
    if left := gocker.left_processes() + gocker.left_things():
        found.complaints.append(f"left: {left}")
    if gocker.runs():
        found.complaints.append(f"runs left: {gocker.runs()}")


def patience() -> float:
    """Return how long one command may take, for documentation."""
    return max(PATIENCE_S, machine.PATIENCE_S)
