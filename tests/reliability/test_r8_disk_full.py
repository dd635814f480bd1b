"""R8: a full disk is the job's own trouble, and what is lost by it is told."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Gocker, Spec

pytestmark = pytest.mark.root
SIZE = 8 << 20


@pytest.fixture
def small(gocker: Gocker) -> Iterator[Path]:
    """Put the data root on a small disk of its own."""
    gocker.data.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "tmpfs", str(gocker.data)]
    subprocess.run(mount, check=True)
    try:
        yield gocker.data
    finally:
        subprocess.run(["umount", str(gocker.data)], check=True)


def fill(directory: Path) -> Path:
    """Take all room that is left."""
    ballast = directory / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            for size in (1 << 16, 1 << 12, 1 << 8, 1):
                while file.write(b"x" * size) == size:
                    pass
        except OSError:
            pass
    return ballast


HOLD: Spec = {
    "services": {
        "writer": {
            "image": "host:/", "command": ["sh", "-c", "echo begin; read line </user/go;"
                                           " head -c 20000 /dev/zero | tr '\\0' x; echo lost;"
                                           " read line </user/go;"
                                           " echo end; exit 7"],
        },
    }
}  # fmt: skip


def test_a_job_that_fills_its_layer_is_alone_with_it(gocker: Gocker, small: Path) -> None:
    """The layer and the run's records share a disk; what the job wrote goes with it."""
    spec: Spec = {
        "services": {
            "full": {"command": ["sh", "-c", "head -c 100m /dev/zero >/x; echo code $?"]},
            "after": {"command": ["sh", "-c", "echo y >/x && echo fine"],
                      "depends_on": {"full": {"condition": "service_completed_successfully"}}},
        }
    }  # fmt: skip
    result = gocker.up(spec)
    assert result.code == 0, result
    assert "code 1" in result.out
    told = [record["message"] for record in result.events("job.warned", "full")]
    assert "code 1" in result.log("full") or "its log are lost: No space left" in told[0]
    assert result.verdict("after") == "ok"
    assert gocker.down().code == 0


def test_records_and_logs_go_on_when_there_is_room_again(gocker: Gocker, small: Path) -> None:
    user = gocker.root / "user"
    user.mkdir()
    os.mkfifo(user / "go")
    HOLD["services"]["writer"]["volumes"] = [
        {"type": "bind", "source": str(user), "target": "/user"}
    ]
    running = gocker.start(HOLD)
    running.wait_for_output("begin")
    ballast = fill(small)
    with open(user / "go", "w") as go:
        go.write("on\n")
    running.wait_for_output("lost")
    ballast.unlink()
    with open(user / "go", "w") as go:
        go.write("on\n")
    result = running.finish()
    assert result.code == 1
    assert result.event("container.exited", "writer")["process.exit.code"] == 7
    log = result.log("writer")
    assert log.startswith("begin\n")
    assert log.endswith("end\n")
    warning = result.event("job.warned", "writer")["message"]
    assert warning.endswith("bytes of its log are lost: No space left on device")
    assert int(warning.split()[0]) == 20000 + len("begin\nlost\nend\n") - len(log)
    assert [r["seq"] for r in result.records] == list(range(1, len(result.records) + 1))


def test_a_disk_that_stays_full_is_told_with_the_path(gocker: Gocker, small: Path) -> None:
    user = gocker.root / "user"
    user.mkdir()
    os.mkfifo(user / "go")
    spec: Spec = {
        "services": {
            "job": {"image": "host:/", "command": ["sh", "-c", "echo begin; read x </user/go"],
                    "volumes": [{"type": "bind", "source": str(user), "target": "/user"}]}
        }
    }  # fmt: skip
    running = gocker.start(spec)
    running.wait_for_output("begin")
    ballast = fill(small)
    with open(user / "go", "w") as go:
        go.write("on\n")
    result = running.finish()
    # A page of the log may still have had room.
    assert result.code in (0, 3), result
    if result.code == 3:
        assert "run.jsonl" in result.err
        assert "No space left on device" in result.err
        assert "Traceback" not in result.err
    ballast.unlink()
    assert gocker.sh("true").code == 0
    assert gocker.down().code == 0


def test_a_run_that_finds_the_disk_full_says_so(gocker: Gocker, small: Path) -> None:
    fill(small)
    result = gocker.sh("true")
    assert result.code == 3
    assert "No space left on device" in result.err
    assert "Traceback" not in result.err
    (small / "ballast").unlink()
    assert gocker.sh("true").code == 0
