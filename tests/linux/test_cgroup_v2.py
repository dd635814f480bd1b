"""The v2 driver against the kernel: what needs no controller runs on hybrid hosts as well."""

from __future__ import annotations

import itertools
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gocker.cgroup import mounts, open_manager, v2
from gocker.cgroup.group import Cgroup
from gocker.errors import ConfigError, ContainerError, HostError
from tests.support.cgroups import check_freezing, eat, fork_forever, start, status

LAYOUT = mounts.read()
_numbers = itertools.count()
DENY_ALL = {"allow": False, "access": "rwm"}
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(LAYOUT.v2 is None, reason="needs a cgroup2 mount"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]
pure = pytest.mark.skipif(LAYOUT.mode != "v2", reason="needs the controllers on cgroup v2")


def open_v2() -> v2.Manager:
    assert LAYOUT.v2 is not None
    name = f"gocker-test-{os.getpid()}-{next(_numbers)}"
    return v2.Manager(LAYOUT.v2.mount, v2.choose_parent(LAYOUT.v2, None, name))


@pytest.fixture
def manager() -> Iterator[v2.Manager]:
    manager = open_v2()
    yield manager
    manager.sweep(lambda _: True)
    manager.close()
    assert not os.path.exists(manager.directories["cgroup"])


def wait_for_member(group: Cgroup, pid: int) -> None:
    until = time.monotonic() + 30
    while pid not in group.pids():
        assert time.monotonic() < until
        os.sched_yield()


def file(manager: v2.Manager, group: Cgroup, name: str) -> str:
    return Path(manager.directories["cgroup"], group.path, name).read_text().strip()


def test_a_process_that_joins_is_inside(manager: v2.Manager) -> None:
    group = manager.create("join", {})
    pid = start(group, signal.pause)
    wait_for_member(group, pid)
    assert group.pids() == [pid]
    os.kill(pid, signal.SIGKILL)
    status(pid)


def test_cpu_time_is_known_without_a_controller(manager: v2.Manager) -> None:
    group = manager.create("time", {})

    def spin() -> None:
        while time.process_time() < 0.02:
            pass

    status(start(group, spin))
    stats = group.stats()
    assert stats["cpu.user_s"] + stats["cpu.system_s"] > 0.01  # type: ignore[operator]  # floats here


def test_kill_ends_a_fork_loop(manager: v2.Manager) -> None:
    group = manager.create("loop", {})
    status(start(group, fork_forever))
    group.kill()
    assert group.wait_empty(30)
    assert group.remove()


def test_freeze_stops_and_thaw_continues(manager: v2.Manager) -> None:
    group = manager.create("freeze", {})

    def check_frozen() -> None:
        assert "frozen 1" in file(manager, group, "cgroup.events")

    check_freezing(group, check_frozen)


def test_kill_reaches_nested_cgroups_and_remove_takes_them(manager: v2.Manager) -> None:
    group = manager.create("nest", {})
    inner = Path(manager.directories["cgroup"], "nest", "inner")
    inner.mkdir()
    pid = start(group, signal.pause)
    wait_for_member(group, pid)
    (inner / "cgroup.procs").write_text(str(pid))
    assert not group.remove()
    group.kill()
    assert status(pid) == -signal.SIGKILL
    assert group.wait_empty(30)
    assert group.remove()
    assert not inner.parent.exists()


def probe() -> None:
    os.close(os.open("/dev/null", os.O_RDWR))
    try:
        os.open("/dev/zero", os.O_WRONLY)
    except PermissionError:
        os.close(os.open("/dev/zero", os.O_RDONLY))
        os._exit(7)


NULL = {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}
ZERO_READ = {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "r"}


def test_the_device_program_denies_what_is_not_allowed(manager: v2.Manager) -> None:
    group = manager.create("dev", {"devices": [DENY_ALL, NULL, ZERO_READ]})
    assert status(start(group, probe)) == 7


def test_a_wildcard_device_rule_allows_every_minor(manager: v2.Manager) -> None:
    rule = {"allow": True, "type": "c", "major": 1, "access": "rwm"}
    group = manager.create("any", {"devices": [DENY_ALL, rule]})
    assert status(start(group, probe)) == 0


def test_mknod_is_denied_by_the_device_program(manager: v2.Manager, tmp_path: Path) -> None:
    group = manager.create("mknod", {"devices": [DENY_ALL, ZERO_READ]})

    def make() -> None:
        try:
            os.mknod(tmp_path / "zero", 0o20600, os.makedev(1, 5))
        except PermissionError:
            os._exit(7)

    assert status(start(group, make)) == 7


def test_set_replaces_the_device_program(manager: v2.Manager) -> None:
    group = manager.create("redev", {"devices": [DENY_ALL, NULL, ZERO_READ]})
    group.set({"devices": [DENY_ALL, {"allow": True, "type": "c", "major": 1}]})
    assert status(start(group, probe)) == 0
    group.set({"devices": [DENY_ALL, NULL, ZERO_READ]})
    assert status(start(group, probe)) == 7
    group.set({"devices": [{"allow": True}]})
    assert status(start(group, probe)) == 0


def test_a_second_set_of_the_same_devices_is_no_error(manager: v2.Manager) -> None:
    group = manager.create("same", {"devices": [DENY_ALL, NULL, ZERO_READ]})
    group.set({"devices": [DENY_ALL, NULL, ZERO_READ]})
    assert status(start(group, probe)) == 7


def test_sweep_kills_and_removes_only_what_is_dead(manager: v2.Manager) -> None:
    group = manager.create("run1-a", {})
    pid = start(group, signal.pause)
    wait_for_member(group, pid)
    manager.create("run2-a", {})
    assert manager.sweep(lambda name: name.startswith("run1-")) == ["run1-a"]
    assert status(pid) == -signal.SIGKILL
    assert os.listdir(manager.directories["cgroup"]).count("run2-a") == 1


def test_clone_into_cgroup_takes_the_descriptor(manager: v2.Manager) -> None:
    group = manager.create("clone", {})
    assert os.stat(group.dir_fd()).st_ino == os.stat(
        os.path.join(manager.directories["cgroup"], "clone")
    ).st_ino  # fmt: skip


def test_no_descriptor_is_left_open(manager: v2.Manager) -> None:
    manager.create("warm", {"devices": [DENY_ALL, NULL]}).remove()
    before = len(os.listdir("/proc/self/fd"))
    group = manager.create("fds", {"devices": [DENY_ALL, NULL]})
    group.fds()
    group.dir_fd()
    group.stats()
    assert group.remove()
    assert len(os.listdir("/proc/self/fd")) == before


def test_evacuate_moves_processes_into_a_leaf(manager: v2.Manager) -> None:
    group = manager.create("full", {})
    pid = start(group, signal.pause)
    wait_for_member(group, pid)
    directory = Path(manager.directories["cgroup"], "full")
    v2.evacuate(str(directory))
    assert (directory / "cgroup.procs").read_text() == ""
    assert (directory / v2.SUPERVISOR / "cgroup.procs").read_text() == f"{pid}\n"
    group.kill()
    status(pid)


@pytest.mark.skipif(LAYOUT.mode == "v2", reason="needs memory to be on cgroup v1")
def test_a_missing_controller_is_refused(manager: v2.Manager) -> None:
    with pytest.raises(HostError, match="needs the cgroup controller 'memory'"):
        manager.check({"memory": {"limit": 2**24}})


@pure
def test_open_manager_finds_a_usable_parent() -> None:
    manager = open_manager()
    assert {"memory", "pids", "cpu"} <= manager.directories.keys()


@pure
def test_limits_are_in_the_kernel_and_reported(manager: v2.Manager) -> None:
    resources = {
        "memory": {"limit": 64 * 2**20 + 1, "swap": 96 * 2**20, "reservation": 2**20},
        "cpu": {"shares": 1024, "quota": 50_000, "period": 200_000, "cpus": "0"},
        "pids": {"limit": 30},
    }
    group = manager.create("limits", resources)
    assert file(manager, group, "memory.max") == str(64 * 2**20)
    assert file(manager, group, "memory.swap.max") == str((32 * 2**20 - 1) // 4096 * 4096)
    assert file(manager, group, "memory.low") == str(2**20)
    assert file(manager, group, "cpu.weight") == "100"
    assert file(manager, group, "cpu.max") == "50000 200000"
    assert file(manager, group, "cpuset.cpus") == "0"
    assert file(manager, group, "pids.max") == "30"
    assert {entry.limit for entry in group.applied} == {
        "memory.limit", "memory.swap", "memory.reservation", "cpu.shares", "cpu.quota",
        "cpu.period", "cpu.cpus", "pids.limit",
    }  # fmt: skip


@pure
def test_nothing_is_left_when_a_limit_fails() -> None:
    manager = open_v2()
    with pytest.raises(ContainerError, match=r"cpu\.quota"):
        manager.create("bad", {"cpu": {"quota": 3}})
    manager.close()
    assert not os.path.exists(manager.directories["cgroup"])


@pure
def test_an_oom_kill_of_a_child_alone_is_counted_and_told(manager: v2.Manager) -> None:
    group = manager.create("oom", {"memory": {"limit": 16 * 2**20, "swap": 16 * 2**20}})
    fd, mask = group.watch_oom()
    poll = select.poll()
    poll.register(fd, mask)
    assert poll.poll(0) == []

    def parent() -> None:
        child = os.fork()
        if child == 0:
            eat(64 * 2**20)
            os._exit(0)
        os._exit(0 if status(child) == -signal.SIGKILL else 1)

    assert status(start(group, parent)) == 0
    assert poll.poll(30_000)
    stats = group.stats()
    assert stats["memory.oom_kills"] == 1
    assert stats["memory.failcnt"]
    assert stats["memory.peak"] == pytest.approx(16 * 2**20, rel=0.1)
    group.clear_oom()
    assert poll.poll(0) == []


@pure
def test_forks_above_the_pids_limit_fail_and_are_counted(manager: v2.Manager) -> None:
    group = manager.create("pids", {"pids": {"limit": 1}})

    def bomb() -> None:
        try:
            os.fork()
        except BlockingIOError:
            os._exit(7)

    assert status(start(group, bomb)) == 7
    assert group.stats()["pids.denied"] == 1


@pure
def test_a_throttled_container_shows_its_periods(manager: v2.Manager) -> None:
    group = manager.create("slow", {"cpu": {"quota": 2000, "period": 10_000}})

    def spin() -> None:
        while time.process_time() < 0.05:
            pass

    status(start(group, spin))
    assert group.stats()["cpu.throttled_periods"]
    assert group.stats()["cpu.throttled_s"]


@pure
def test_unified_keys_are_written(manager: v2.Manager) -> None:
    unified = {"memory.high": "1048577", "cpu.max": "10000 50000", "pids.max": "max"}
    group = manager.create("uni", {"unified": unified})
    assert file(manager, group, "memory.high") == str(2**20)
    assert file(manager, group, "cpu.max") == "10000 50000"
    assert len(group.applied) == 3


@pure
def test_a_parent_of_several_parts_gets_the_controllers(manager: v2.Manager) -> None:
    group = manager.create("run/job/1", {"pids": {"limit": 7}, "cpu": {"shares": 2}})
    assert file(manager, group, "pids.max") == "7"
    assert file(manager, group, "cpu.weight") == "1"


@pure
def test_a_delegated_cgroup_with_processes_in_it_can_hold_containers(manager: v2.Manager) -> None:
    """As an ordinary user does whose session was given a cgroup: evacuate, then limit below."""
    group = manager.create("job", {})
    directory = f"{manager.directories['cgroup']}/job"

    def gocker() -> None:
        layout = mounts.read()
        assert layout.v2 is not None
        assert layout.v2.directory == directory
        v2.evacuate(directory)
        inner = v2.Manager(layout.v2.mount, f"{directory}/gocker")
        applied = inner.create("c", {"pids": {"limit": 5}}).applied
        os._exit(7 if applied[0].effective == 5 else 1)

    assert status(start(group, gocker)) == 7


@pure
def test_limits_without_a_form_on_v2_are_refused(manager: v2.Manager) -> None:
    with pytest.raises(ConfigError, match="swappiness"):
        manager.check({"memory": {"swappiness": 5}})
