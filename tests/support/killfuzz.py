"""SIGKILL at a random moment to a random process of a command, and what is left after it."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from pathlib import Path
from typing import NamedTuple

from tests.support import machine
from tests.support.command import Gocker, Running, Spec

VICTIMS = ("front", "launcher", "init", "front and launchers")


def make_tree(top: Path, files: int = 1000) -> None:
    """Make user data: files in directories, a link, a file that nobody may write."""
    for number in range(files):
        directory = top / f"d{number % 10}" / f"e{number % 7}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"f{number}").write_bytes(number.to_bytes(4) * (number % 50))
    (top / "link").symlink_to("/etc/passwd")
    (top / "d0").chmod(0o555)


def digest(top: Path) -> str:
    """Return a digest of the names, contents, modes, owners and times below a directory."""
    state = hashlib.sha256()
    for path in sorted([top, *top.rglob("*")]):
        info = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        state.update(repr((path, info.st_mode, info.st_mtime_ns, info.st_uid, content)).encode())
    return state.hexdigest()


def spec(containers: int, tree: Path, hold_s: float = 0.2) -> Spec:
    """Return a spec of containers that share a volume and a bind mount of user data."""
    return {
        "services": {
            f"c{number:02}": {
                "command": ["sh", "-c", f"echo {number} >/vol/{number}; sleep {hold_s}"],
                "volumes": ["vol:/vol", {"type": "bind", "source": str(tree), "target": "/user"},
                            {"type": "volume", "target": "/anonymous"}],
                "mem_limit": "64m",
            }
            for number in range(containers)
        },
        "volumes": {"vol": {}},
    }  # fmt: skip


class Shot(NamedTuple):
    """What was hit, when, and what was wrong afterwards."""

    victim: str
    moment_s: float
    wrong: list[str]


def pick(victim: str, running: Running, chance: random.Random) -> list[int]:
    """Return the processes of a run to kill."""
    launchers = machine.children(running.pid)
    if victim == "launcher":
        return launchers[: chance.randint(1, 2)]
    if victim == "front and launchers":
        return [*launchers, running.pid]
    if victim == "init":
        inits = [pid for launcher in launchers for pid in machine.children(launcher)]
        return [chance.choice(inits)] if inits else []
    return [running.pid]


def shoot(running: Running, victim: str, moment_s: float, chance: random.Random) -> None:
    """Wait for the moment, then kill; the run has ended when this returns."""
    machine.wait_ended(running.pid, moment_s)
    stopped = victim == "front and launchers"
    if stopped:
        running.send(signal.SIGSTOP)  # so that it cannot react to the loss of a launcher
    for pid in pick(victim, running, chance):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended by itself
    running.finish()


def left(gocker: Gocker) -> list[str]:
    """Return what is left of gocker's, mounts of others on this machine aside."""
    things = gocker.left_things()
    return [thing for thing in things if " - " not in thing or gocker.root.name in thing]


class Fuzz:
    """Kills ``up`` again and again; each time all must be clean and work again."""

    def __init__(self, gocker: Gocker, containers: int, seed: int) -> None:
        self.gocker = gocker
        self.chance = random.Random(seed)  # noqa: S311  # a repeatable test, not a secret
        self.tree = gocker.root / "user"
        make_tree(self.tree)
        self.digest = digest(self.tree)
        self.spec = spec(containers, self.tree)
        self.options = ("--parallel", str(containers))
        began = time.monotonic()
        assert gocker.up(self.spec, *self.options).code == 0
        self.whole_s = time.monotonic() - began

    def shot(self) -> Shot:
        """Kill one run; return what was wrong."""
        victim = self.chance.choice(VICTIMS)
        moment_s = self.chance.uniform(0.0, 1.3 * self.whole_s)
        running = self.gocker.start(self.spec, *self.options)
        shoot(running, victim, moment_s, self.chance)
        return Shot(victim, moment_s, self.after())

    def after(self) -> list[str]:
        """Return what is wrong: left processes and things, commands that fail, user data."""
        wrong = [f"process: {process}" for process in self.gocker.left_processes()]
        down = self.gocker.down()
        if down.code != 0:
            wrong.append(f"down: {down}")
        wrong += [f"left: {thing}" for thing in left(self.gocker)]
        again = self.gocker.up(self.spec, *self.options)
        if again.code != 0:
            wrong.append(f"up: {again}")
        if digest(self.tree) != self.digest:
            wrong.append("user data changed")
        return wrong
