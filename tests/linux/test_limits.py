"""Limits: written, read back, in force; and the verdicts that they give."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from gocker.cgroup import mounts
from tests.support.command import Gocker, Result, Spec

LAYOUT = mounts.read()
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(LAYOUT.mode == "v2", reason="reads cgroup v1 files"),
]

MIB = 1 << 20
# Writes into memory of its own, page by page, until it is killed: a shell's string.
EAT = "x=0123456789abcdef; while :; do x=$x$x; done"


def limit_of(result: Result, name: str) -> tuple[object, object]:
    (record,) = [r for r in result.events("limit.applied") if r["limit"] == name]
    return record["requested"], record["effective"]


def test_every_limit_is_read_back_and_in_force(gocker: Gocker) -> None:
    group = "/sys/fs/cgroup"
    files = {
        "memory/memory.limit_in_bytes": 64 * MIB,
        "memory/memory.memsw.limit_in_bytes": 96 * MIB,
        "memory/memory.soft_limit_in_bytes": 32 * MIB,
        "cpu/cpu.cfs_quota_us": 75000,
        "cpu/cpu.cfs_period_us": 50000,
        "cpu/cpu.shares": 512,
        "cpuset/cpuset.cpus": 1,
        "pids/pids.max": 33,
    }
    result = gocker.job(
        "cat", *(f"{group}/{file}" for file in files),
        mem_limit="64m", memswap_limit="96m", mem_reservation="32m", cpus=1.5, cpu_period=50000,
        cpu_shares=512, cpuset="1", pids_limit=33,
    )  # fmt: skip
    assert [int(word) for word in result.log().split()] == list(files.values())
    # The same from outside, while it was applied: written once, read back once.
    applied = {
        "memory.limit": 64 * MIB, "memory.swap": 96 * MIB, "memory.reservation": 32 * MIB,
        "cpu.quota": 75000, "cpu.period": 50000, "cpu.shares": 512, "pids.limit": 33,
    }  # fmt: skip
    assert {name: limit_of(result, name) for name in applied} == {
        name: (value, value) for name, value in applied.items()
    }
    assert len({r["limit"] for r in result.events("limit.applied")}) == len(applied) + 2


def test_limits_are_seen_from_outside(gocker: Gocker) -> None:
    running = gocker.start({"services": {"job": {
        "command": ["sleep", "1000"], "mem_limit": "48m", "pids_limit": 21, "cpus": 0.25,
    }}})  # fmt: skip
    container = running.wait_for("container.started")["container.id"]
    seen = {}
    for controller, file in (
        ("memory", "memory.limit_in_bytes"), ("pids", "pids.max"), ("cpu", "cpu.cfs_quota_us"),
    ):  # fmt: skip
        (path,) = Path(gocker.nest.directories[controller]).rglob(container)
        seen[controller] = (path / file).read_text().strip()
    running.send(signal.SIGTERM)
    running.finish()
    assert seen == {"memory": str(48 * MIB), "pids": "21", "cpu": "25000"}


def test_deploy_limits_count_as_well(gocker: Gocker) -> None:
    limits = {"cpus": "0.5", "memory": "40m", "pids": 17}
    result = gocker.job("true", deploy={"resources": {"limits": limits}})
    assert limit_of(result, "memory.limit") == (40 * MIB, 40 * MIB)
    assert limit_of(result, "pids.limit") == (17, 17)
    assert limit_of(result, "cpu.quota") == (50000, 50000)


def test_a_cpuset_binds_the_program(gocker: Gocker) -> None:
    last = max(os.sched_getaffinity(0))
    result = gocker.job("grep", "Cpus_allowed_list", "/proc/self/status", cpuset=str(last))
    assert result.log().split() == ["Cpus_allowed_list:", str(last)]


# -- memory --------------------------------------------------------------------------------------


def test_an_oom_kill_is_told_twenty_of_twenty_times(gocker: Gocker) -> None:
    spec: Spec = {
        "services": {"job": {
            "command": ["sh", "-c", EAT], "mem_limit": "8m", "deploy": {"replicas": 20},
        }}
    }  # fmt: skip
    result = gocker.up(spec)
    exits = result.events("container.exited")
    assert [record["verdict"] for record in exits] == ["oom"] * 20
    assert {record["memory.limit"] for record in exits} == {8 * MIB}
    assert all(7 * MIB <= record["memory.peak"] <= 8 * MIB for record in exits)
    assert all(record["memory.oom_kills"] >= 1 for record in exits)
    assert {record["process.exit.signal"] for record in exits} == {"SIGKILL"}
    assert len(result.events("container.oom")) == 20
    assert result.code == 1


def test_an_oom_kill_of_a_child_only_is_told(gocker: Gocker) -> None:
    result = gocker.sh(f"sh -c '{EAT}'; exit 3", mem_limit="8m")
    exited = result.event("container.exited")
    assert (exited["verdict"], exited["process.exit.code"]) == ("oom", 3)
    assert (exited["memory.limit"], exited["memory.oom_kills"]) == (8 * MIB, 1)
    assert result.event("container.oom")["memory.limit"] == 8 * MIB


def test_a_success_in_spite_of_an_oom_kill_is_ok_with_a_warning(gocker: Gocker) -> None:
    result = gocker.sh(f"sh -c '{EAT}'; exit 0", mem_limit="8m")
    assert (result.code, result.verdict()) == (0, "ok")
    assert result.event("container.exited")["memory.oom_kills"] == 1
    assert len(result.events("job.warned")) == 1


def test_without_memswap_limit_there_is_no_swap(gocker: Gocker) -> None:
    result = gocker.job("true", mem_limit="32m")
    assert limit_of(result, "memory.swap") == (32 * MIB, 32 * MIB)


def test_the_text_for_people_has_peak_and_limit(gocker: Gocker) -> None:
    path = gocker.write({"services": {"job": {"command": ["sh", "-c", EAT], "mem_limit": "8m"}}})
    result = gocker.command("up", str(path))
    (row,) = [line for line in result.err.splitlines() if " SIGKILL " in line]
    assert row.split()[:2] == ["job", "oom"]
    assert "8 MiB / 8 MiB" in row


# -- pids ----------------------------------------------------------------------------------------


def test_a_fork_bomb_meets_its_limit_and_the_host_does_not_notice(gocker: Gocker) -> None:
    bomb = "b() { b | b & }; b; sleep 2; exit 1"
    running = gocker.start({"services": {"job": {
        "command": ["sh", "-c", bomb], "pids_limit": 32, "x-gocker": {"timeout": "20s"},
    }}})  # fmt: skip
    container = running.wait_for("container.started")["container.id"]
    (group,) = Path(gocker.nest.directories["pids"]).rglob(container)
    assert int((group / "pids.max").read_text()) == 32
    result = running.finish()
    exited = result.event("container.exited")
    assert exited["verdict"] == "pids"
    assert exited["pids.denied"] > 0
    assert (exited["pids.limit"], exited["pids.peak"]) == (32, 32)
    assert result.code == 1


# -- CPU -----------------------------------------------------------------------------------------


def test_a_throttled_job_shows_for_how_long(gocker: Gocker) -> None:
    result = gocker.sh("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done", cpus=0.1)
    exited = result.event("container.exited")
    assert exited["cpu.throttled_s"] > 0
    assert 0 < exited["cpu.throttled_periods"] <= exited["cpu.periods"]
    assert result.summary["rows"][0]["throttled_s"] == exited["cpu.throttled_s"]


def test_cpu_time_is_told_without_any_limit(gocker: Gocker) -> None:
    exited = gocker.sh("i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done").event("container.exited")
    assert exited["cpu.user_s"] + exited["cpu.system_s"] > 0.005
    assert exited["cpu.throttled_s"] is None


# -- what cannot be set --------------------------------------------------------------------------


def without(controller: str) -> list[str]:
    """Return a wrapper that runs the command where a controller is not mounted."""
    return ["unshare", "-m", "sh", "-c", f'umount /sys/fs/cgroup/{controller} && exec "$@"', "sh"]


@pytest.mark.parametrize("controller", ["memory", "cpu", "pids"])
def test_a_missing_controller_stops_the_run_before_anything_starts(
    gocker: Gocker, controller: str
) -> None:
    limits: dict[str, Spec] = {
        "memory": {"mem_limit": "32m"}, "cpu": {"cpus": 0.5}, "pids": {"pids_limit": 9},
    }  # fmt: skip
    spec: Spec = {"services": {
        "first": {"command": ["true"]},
        "limited": {
            "command": ["true"], **limits[controller],
            "depends_on": {"first": {"condition": "service_completed_successfully"}},
        },
    }}  # fmt: skip
    result = gocker.up(spec, wrapper=without(controller))
    assert result.code == 3
    assert f"'{controller}'" in result.err
    assert f"mount -t cgroup -o {controller}" in result.err
    assert result.events("container.started") == []


def test_best_effort_goes_on_without_and_says_so(gocker: Gocker) -> None:
    result = gocker.up(
        {"services": {"job": {
            "command": ["true"], "mem_limit": "32m", "x-gocker": {"limits": "best-effort"},
        }}},
        wrapper=without("memory"),
    )  # fmt: skip
    assert (result.code, result.verdict()) == (0, "ok")
    skipped = {r["limit"]: r for r in result.events("limit.skipped")}
    assert skipped["memory.limit"]["requested"] == 32 * MIB
    assert "memory" in skipped["memory.limit"]["reason"]


def test_a_limit_that_the_kernel_refuses_stops_the_container(gocker: Gocker) -> None:
    result = gocker.job("true", cpuset="4095")
    assert result.verdict() == "start_failed"
    assert "cpu.cpus" in result.event("container.failed")["error"]["message"]
    assert result.events("container.started") == []
