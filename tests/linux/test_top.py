"""`gocker top`: read from the host's /proc; nothing of an image runs for it."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

from tests.support.command import Gocker

pytestmark = pytest.mark.root


def test_the_processes_of_each_service(gocker: Gocker) -> None:
    script = "sleep 500 & setsid sleep 501 & echo on; exec sleep 502"
    spec = {"services": {
        "web": {"command": ["sh", "-c", script], "user": "alice"},
        "other": {"command": ["sh", "-c", "echo on; exec sleep 600"], "tty": True},
    }}  # fmt: skip
    running = gocker.start(spec)
    for name in spec["services"]:
        running.wait_for("container.started", name)
    running.wait_for_output("other | on")
    running.wait_for_output("web   | on")
    result = gocker.command("top", "-p", "test", "--format", "json")
    rows = json.loads(result.out)
    commands = {row["CMD"]: row for row in rows}
    assert commands.keys() == {"sleep 500", "sleep 501", "sleep 502", "sleep 600"}
    assert {row["Service"]: row["UID"] for row in rows} == {"web": 1234, "other": 0}
    first = commands["sleep 502"]
    assert first["PID"] == running.wait_for("container.started", "web")["process.pid"]
    assert (first["OwnPID"], commands["sleep 500"]["PPID"]) == (1, first["PID"])
    assert (commands["sleep 600"]["TTY"], first["TTY"]) == ("pts/0", "?")
    # A further program in the container is one of its processes.
    gocker.command("exec", "-d", "-p", "test", "web", "sleep", "503")
    found = gocker.command("top", "-p", "test", "web", "--format", "jsonl").out
    assert {json.loads(line)["CMD"] for line in found.splitlines()} == {
        "sleep 500", "sleep 501", "sleep 502", "sleep 503",
    }  # fmt: skip
    missing = gocker.command("top", "-p", "test", "nothing")
    assert (missing.code, "not running: nothing" in missing.err) == (3, True)
    running.send(signal.SIGTERM)
    running.finish()


def test_g2_no_program_of_the_image_runs_outside_of_it(gocker: Gocker, rootfs: Path) -> None:
    image = gocker.root / "image"
    shutil.copytree(rootfs, image, symlinks=True)
    mark = gocker.root / "mark"
    mark.mkdir(mode=0o777)
    for name in ("ps", "nsenter", "id", "getent", "tar", "xz", "unpigz", "modprobe"):
        program = image / "bin" / name
        program.unlink(missing_ok=True)
        program.write_text(f"#!/bin/sh\n/bin/busybox touch {mark}/{name}\n")
        program.chmod(0o755)
    (image / "etc/nsswitch.conf").write_text("passwd: zz\n")
    (image / "etc/ld.so.preload").write_text("/lib/evil.so\n")
    running = gocker.start({"services": {"web": {
        "image": f"rootfs:{image}", "command": ["sleep", "1000"], "volumes": [f"{mark}:{mark}"],
    }}})  # fmt: skip
    running.wait_for("container.started")
    assert "sleep 1000" in gocker.command("top", "-p", "test").out
    spec = str(gocker.root / "spec.yaml")
    assert gocker.command("ps", spec).code == 0
    assert gocker.command("cp", "-p", "test", "web:/etc", str(gocker.root / "etc")).code == 0
    assert gocker.command("cp", "-p", "test", str(gocker.root / "etc"), "web:/tmp").code == 0
    assert gocker.command("logs", spec).code == 0
    assert gocker.command("exec", "-u", "alice", "-p", "test", "web", "true").code == 0
    assert list(mark.iterdir()) == []
    assert gocker.command("exec", "-p", "test", "web", "ps").code == 0
    assert [path.name for path in mark.iterdir()] == ["ps"]
    running.send(signal.SIGTERM)
    running.finish()
