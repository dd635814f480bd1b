"""R7, R25, E3: damaged or foreign state leads to no traceback, no wrong kill and no wrong removal.

500 corruptions: ``python -m tests.long r25``.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gocker.state.holder import Holder
from gocker.state.record import seal, unseal
from tests.support.command import Gocker, Spec
from tests.support.killfuzz import digest, make_tree

pytestmark = pytest.mark.root
SEED = random.SystemRandom().randrange(1 << 32)


def spec(name: str, user: Path) -> Spec:
    return {
        "name": name,
        "services": {
            "job": {"command": ["sh", "-c", "echo precious >/vol/file"],
                    "volumes": ["vol:/vol", {"type": "bind", "source": str(user), "target": "/u"}]}
        },
        "volumes": {"vol": {}},
    }  # fmt: skip


@contextmanager
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that nobody may signal."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            yield process
            assert process.poll() is None, "a stranger was killed"
        finally:
            process.kill()


def flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)


def cut(path: Path, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size + 1))


def zero(path: Path, chance: random.Random) -> None:
    size = path.stat().st_size
    begin = chance.randrange(size + 1)
    path.write_bytes(path.read_bytes()[:begin] + b"\0" * (size - begin))


def fill(path: Path, chance: random.Random) -> None:
    path.write_bytes(chance.randbytes(chance.randrange(5000)))


def unlink(path: Path, _: random.Random) -> None:
    path.unlink()


def link(path: Path, _: random.Random) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def fifo(path: Path, _: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path, _: random.Random) -> None:
    path.unlink()
    path.mkdir()


def give_away(path: Path, _: random.Random) -> None:
    os.chown(path, 1000, 1000)


def open_up(path: Path, _: random.Random) -> None:
    path.chmod(0o666)


CORRUPTIONS: tuple[Callable[[Path, random.Random], None], ...] = (
    flip, flip, flip, cut, zero, fill, unlink, link, fifo, directory, give_away, open_up,
)  # fmt: skip


def corruptions(gocker: Gocker, count: int, seed: int) -> None:
    """Damage one file of a project's state again and again; everything else stays right."""
    chance = random.Random(seed)  # noqa: S311  # a repeatable test, not a secret
    user = gocker.root / "user"
    make_tree(user, 50)
    before = digest(user)
    paths = {name: gocker.write(spec(name, user), f"{name}.yaml") for name in ("test", "other")}
    for name in paths:
        assert gocker.command("up", str(paths[name])).code == 0
    (good,) = [run for run in gocker.runs() if b'"other"' in (run / "run.json").read_bytes()]
    other = digest(good), digest(gocker.data / "volumes/other_vol")
    for number in range(count):
        assert gocker.command("up", str(paths["test"])).code == 0, (seed, number)
        mine = [run for run in gocker.runs() if run != good]
        files = [path for run in mine for path in run.rglob("*") if path.is_file()]
        files += [path for path in (gocker.data / "cache").rglob("*") if path.is_file()]
        files.append(gocker.data / "volumes/.owner/test_vol")
        victim = chance.choice(sorted(files))
        corruption = chance.choice(CORRUPTIONS)
        corruption(victim, chance)
        what = (seed, number, corruption.__name__, victim)
        for words in (("ps", "--all", "--all-projects"), ("logs", "-f", str(paths["test"])),
                      ("gc",), ("down", "-p", "test")):  # fmt: skip
            result = gocker.command(*words)
            assert result.code in (0, 3), (what, words, result)
            assert "Traceback" not in result.err, (what, words, result)
            assert "internal error" not in result.err, (what, words, result)
        owner = gocker.data / "volumes/.owner/test_vol"
        volume = gocker.data / "volumes/test_vol/file"
        assert volume.read_text() == "precious\n", what
        if victim == owner:
            # Nobody's any more: its data stays until someone says whose it is.
            if owner.is_symlink() or not owner.is_dir():
                owner.unlink(missing_ok=True)
            else:
                owner.rmdir()
            shutil.rmtree(volume.parent)
        assert (digest(good), digest(gocker.data / "volumes/other_vol")) == other, what
        assert digest(user) == before, what


def test_damaged_files_of_one_project(gocker: Gocker) -> None:
    with stranger():
        corruptions(gocker, 4, SEED)


def rewrite(run: Path, **changes: object) -> None:
    """Change facts in a run's record, whose seal fits again."""
    facts, _ = unseal((run / "run.json").read_bytes())
    assert facts is not None
    (run / "run.json").write_bytes(seal(facts | changes))


@pytest.mark.parametrize("command", ["down", "gc", "up"])
def test_a_reused_pid_is_not_signalled(gocker: Gocker, command: str) -> None:
    """E3: the pid is another process's by now; the start time tells."""
    assert gocker.sh("true").code == 0
    (run,) = gocker.runs()
    with stranger() as process:
        holder = Holder.current().as_json() | {"pid": process.pid}
        rewrite(run, holder=holder)
        if command == "up":
            assert gocker.sh("true").code == 0
        else:
            assert (
                gocker.command(*(["down", "-p", "test"] if command == "down" else ["gc"])).code == 0
            )


def test_after_a_reboot_nothing_is_signalled_and_all_is_lost(gocker: Gocker) -> None:
    """R7: as it was when the machine went down: a record of a running container, another boot."""
    running = gocker.start({"services": {"job": {"command": ["sleep", "1000"]}}})
    running.wait_for("container.started")
    (run,) = gocker.runs()
    log = (run / "run.jsonl").read_bytes()
    running.send(signal.SIGTERM)
    running.finish()
    with stranger() as process:
        (run / "run.jsonl").write_bytes(log)
        facts, _ = unseal((run / "run.json").read_bytes())
        assert facts is not None
        holder = facts["holder"] | {"boot_id": "0" * 36, "pid": process.pid}
        rewrite(run, holder=holder)
        old = gocker.live / "00000000-0000-4000-8000-000000000000"
        shutil.copytree(next(gocker.live.iterdir()), old)
        listed = gocker.command("ps", "--all", "--all-projects", "--format", "json")
        assert [item["State"] for item in json.loads(listed.out)] == ["lost"]
        assert gocker.sh("true").code == 0
        assert not old.exists()
        assert gocker.down().code == 0
