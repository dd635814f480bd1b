"""``update`` and ``events``."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.support.oci import COMMAND, Runtime

pytestmark = pytest.mark.root


def limits(runtime: Runtime) -> dict[str, str]:
    """Return what the container's own cgroup files say, by ``events --stats``."""
    data = json.loads(runtime.command("events", "--stats", runtime.name).stdout)
    assert data["type"] == "stats"
    assert data["id"] == runtime.name
    found: dict[str, str] = data["data"]
    return found


def test_update_changes_limits_of_a_running_container(runtime: Runtime) -> None:
    runtime.config["linux"]["resources"] = {"pids": {"limit": 10}, "memory": {"limit": 64 << 20}}
    runtime.create("/bin/sleep", "100")
    runtime.start()
    before = limits(runtime)
    assert before["pids"]["limit"] == 10
    assert before["memory"]["usage"]["limit"] == 64 << 20
    runtime.command("update", "--pids-limit", "20", "--memory", "32m", runtime.name)
    after = limits(runtime)
    assert after["pids"]["limit"] == 20
    assert after["memory"]["usage"]["limit"] == 32 << 20
    result = runtime.command("update", "--cpuset-cpus", "9999", runtime.name, check=False)
    assert result.returncode == 1
    runtime.delete("--force")


def test_events_tell_of_memory_that_ran_out(runtime: Runtime) -> None:
    runtime.config["linux"]["resources"] = {"memory": {"limit": 24 << 20, "swap": 24 << 20}}
    script = "read x < /go; tail /dev/zero"
    subprocess.run(["mkfifo", runtime.rootfs / "go"], check=True)
    pid = runtime.create("/bin/sh", "-c", script)
    runtime.start()
    command = [*COMMAND, "--root", str(runtime.root), "events", "--interval", "200ms",
               runtime.name]  # fmt: skip
    watcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert watcher.stdout is not None
    assert json.loads(watcher.stdout.readline())["type"] == "stats"
    (runtime.rootfs / "go").write_text("x\n")
    kinds = {json.loads(line)["type"] for line in watcher.stdout}
    assert "oom" in kinds
    assert watcher.wait() == 0
    watcher.stdout.close()
    runtime.wait(pid)
    runtime.delete("--force")
