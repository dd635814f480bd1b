"""R5: no cleaning touches user data: bind mounts, mounts in them, busy mounts, volumes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.linux.test_leftovers import both, front, launcher
from tests.support.command import Gocker, Running, Spec
from tests.support.killfuzz import digest, make_tree

pytestmark = pytest.mark.root


@pytest.fixture
def tree(gocker: Gocker) -> Iterator[Path]:
    """Return a tree of 1000 files with another file system mounted in it."""
    top = gocker.root / "user"
    make_tree(top)
    nested = top / "d1/nested"
    nested.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", nested], check=True)
    (nested / "file").write_text("precious")
    try:
        yield top
    finally:
        subprocess.run(["umount", nested], check=True)


def start(gocker: Gocker, tree: Path) -> Running:
    """Start containers that have the tree in several places, one with its working directory."""
    bind = {"type": "bind", "source": str(tree), "target": "/user"}
    below = {"type": "bind", "source": str(tree / "d1"), "target": "/user/d2"}
    spec: Spec = {
        "services": {
            "inside": {"command": ["sh", "-c", "echo x >/vol/file; echo up; sleep 1000"],
                       "volumes": [bind, below, "vol:/vol"], "working_dir": "/user/d1/nested"},
            "root": {"command": ["sleep", "1000"],
                     "volumes": [{**bind, "target": "/tmp/a"}, {"type": "volume", "target": "/x"}]},
        },
        "volumes": {"vol": {}},
    }  # fmt: skip
    running = gocker.start(spec, "--parallel", "2")
    running.wait_for("container.started", count=2)
    running.wait_for_output("up")
    return running


@pytest.mark.parametrize("kill", [front, launcher, both])
@pytest.mark.parametrize("cleaner", [("down", "-p", "test"), ("gc",)])
def test_no_file_of_the_users_is_lost(
    gocker: Gocker, tree: Path, kill: object, cleaner: tuple[str, ...]
) -> None:
    before = digest(tree)
    running = start(gocker, tree)
    assert callable(kill)
    kill(running)
    running.finish()
    assert gocker.left_processes() == []
    assert gocker.command(*cleaner).code == 0
    assert digest(tree) == before
    assert (gocker.data / "volumes/test_vol/file").read_text() == "x\n"
    assert gocker.down().code == 0
    assert digest(tree) == before


def test_a_mount_in_what_is_removed_stays_with_its_files(gocker: Gocker, tree: Path) -> None:
    """A directory of ours that somebody has mounted user data on is refused, not emptied."""
    assert gocker.sh("true").code == 0
    (run,) = gocker.runs()
    stale = gocker.data / "containers" / f"{run.name}-9"
    inside = stale / "upper/data"
    inside.mkdir(parents=True)
    before = digest(tree)
    subprocess.run(["mount", "--rbind", tree, inside], check=True)
    try:
        holder = os.open(inside / "d1/nested", os.O_RDONLY)
        down = gocker.down()
        assert down.code == 3
        assert "is a mount point; it and what is mounted there stay" in down.err
        assert gocker.command("gc").code == 3
        os.close(holder)
        assert digest(tree) == before
    finally:
        subprocess.run(["umount", "-R", inside], check=True)
    assert gocker.down().code == 0
    assert not stale.exists()
    assert digest(tree) == before


def test_a_link_in_what_is_removed_is_not_followed(gocker: Gocker, tree: Path) -> None:
    assert gocker.sh("true").code == 0
    (run,) = gocker.runs()
    stale = gocker.data / "containers" / f"{run.name}-9"
    stale.mkdir(parents=True)
    (stale / "link").symlink_to(tree)
    (gocker.data / "containers" / f"{run.name}-8").symlink_to(tree)
    before = digest(tree)
    assert gocker.down("-v").code == 0
    assert digest(tree) == before
