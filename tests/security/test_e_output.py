"""2.E: what a job can do to logs, terminals and records."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import Gocker

pytestmark = pytest.mark.root

TORTURE = (
    b"plain\n\x1b]0;title\x07\x1b]52;c;Y2FuYXJ5\x07\x1b[2J\x1b[31mred\x1b[0m\n"
    b"\r{\"event\": \"forged\"}\n\xff\xfe invalid \xc3\x28\n\x00nul\x00\n\xe2\x80\xa8separator\n"
    b"\xe2\x80\xaebidi\n\x9b31mC1\n\xed\xa0\x80surrogate\n" + b"x" * 100_000 + b"\nlast without end"
)  # fmt: skip


@pytest.fixture
def tortured(gocker: Gocker) -> Gocker:
    (gocker.root / "torture").write_bytes(TORTURE)
    spec = {
        "services": {
            "job": {
                "command": ["cat", "/t"], "volumes": [f"{gocker.root}/torture:/t:ro"],
                "labels": {"evil": "\x1b]0;x\x07\nlabel"}, "attach": False,
            }
        }
    }  # fmt: skip
    assert gocker.up(spec).code == 0
    return gocker


def test_e04_a_record_is_one_line_of_json(tortured: Gocker) -> None:
    run = tortured.last_run()
    assert run is not None
    lines = (run / "run.jsonl").read_bytes().split(b"\n")
    assert lines.pop() == b""
    records = [json.loads(line) for line in lines]
    assert [record["seq"] for record in records] == list(range(1, len(records) + 1))
    assert "forged" not in {record["event"] for record in records}


def test_e04_raw_output_is_the_jobs_bytes(tortured: Gocker) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "gocker", "logs", str(tortured.root / "spec.yaml"), "--raw"],
        env=tortured.environ, cwd=tortured.root, capture_output=True,
    )  # fmt: skip
    assert result.stdout == TORTURE


def test_e04_a_terminal_gets_colours_and_no_other_sequence(tortured: Gocker) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "gocker", "logs", str(tortured.root / "spec.yaml")]
    process = subprocess.Popen(command, env=tortured.environ, cwd=tortured.root, stdin=slave,
                               stdout=slave, stderr=slave)  # fmt: skip
    os.close(slave)
    shown = b""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # EIO: the last process has closed its end
            break
        if not chunk:
            break
        shown += chunk
    os.close(master)
    assert process.wait() == 0
    rest = re.sub(rb"\x1b\[[0-9;:]*m", b"", shown)
    assert b"plain" in shown
    assert b"\x1b" not in rest
    assert b"\x07" not in rest
    assert "\u202e".encode() not in rest
    assert b"\x9b" not in rest


CANARY = "canary-e05-c0ffee"


def test_e05_a_secret_is_in_no_record_output_or_command_line(
    gocker: Gocker, tmp_path: Path
) -> None:
    """Also not when a start fails; the job prints it, which is masked."""
    (tmp_path / "secret").write_text(CANARY)
    jobs = {
        "prints": {"command": ["cat", "/run/secrets/s"], "secrets": ["s"]},
        "fails": {"command": ["/no/such"], "secrets": ["s"]},
        "unknown": {"command": ["true"], "user": "nobody-here", "secrets": ["s"]},
        "masked": {"command": ["env"], "environment": {"TOKEN": CANARY},
                   "x-gocker": {"mask": ["TOKEN"]}},
    }  # fmt: skip
    spec = {"services": jobs, "secrets": {"s": {"file": str(tmp_path / "secret")}}}
    result = gocker.up(spec)
    assert CANARY not in result.out + result.err
    (gocker.root / "spec.yaml").unlink()
    found = subprocess.run(["grep", "-rlaF", CANARY, gocker.data, gocker.live],
                           capture_output=True, text=True).stdout.split()  # fmt: skip
    # A job's own log is what it wrote, byte for byte; `logs` shows it masked.
    allowed = {"prints.log", "masked.log"}
    assert {Path(path).name for path in found} <= allowed, found


def test_e06_a_log_that_is_a_link_is_not_followed(gocker: Gocker, tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text("root:canary-e06\n")
    result = gocker.sh("echo hello")
    assert result.run is not None
    path = str(gocker.root / "spec.yaml")
    assert gocker.command("logs", path, "--no-log-prefix").out == "hello\n"
    log = result.run / "logs/job.log"
    log.unlink()
    log.symlink_to(tmp_path / "shadow")
    shown = gocker.command("logs", path)
    assert "canary" not in shown.out + shown.err


def test_e06_logs_are_private_whatever_the_umask(gocker: Gocker) -> None:
    def enter() -> None:
        gocker.nest.enter()
        os.umask(0)

    result = gocker.up({"services": {"job": {"command": ["echo", "x"]}}}, enter=enter)
    assert result.run is not None
    assert (result.run / "logs/job.log").stat().st_mode & 0o777 == 0o600
    assert (result.run / "run.jsonl").stat().st_mode & 0o777 == 0o600
