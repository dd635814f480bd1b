"""The v1 driver against the kernel. Everything happens below gocker-test-<pid>-<n>."""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gocker.cgroup import mounts, tree, v1
from gocker.cgroup.group import Cgroup
from gocker.errors import ConfigError, ContainerError, HostError, SyscallError
from tests.support.cgroups import check_freezing, eat, fork_forever, start, status

LAYOUT = mounts.read()
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(LAYOUT.mode not in ("v1", "hybrid"), reason="needs cgroup v1 controllers"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]
_numbers = itertools.count()
DENY_ALL = {"allow": False, "access": "rwm"}


def allow(major: int, minor: int, access: str = "rwm") -> dict[str, object]:
    return {"allow": True, "type": "c", "major": major, "minor": minor, "access": access}


def open_v1(*without: str) -> v1.Manager:
    name = f"gocker-test-{os.getpid()}-{next(_numbers)}"
    return v1.Manager(
        {
            controller: f"{hierarchy.directory}/{name}"
            for controller, hierarchy in LAYOUT.v1.items()
            if "=" not in controller and controller not in without
        }
    )


def left_behind(manager: v1.Manager) -> list[str]:
    return [path for path in manager.directories.values() if os.path.exists(path)]


@pytest.fixture
def manager() -> Iterator[v1.Manager]:
    manager = open_v1()
    yield manager
    manager.sweep(lambda _: True)
    manager.close()
    assert left_behind(manager) == []


def test_a_parent_that_another_gocker_removes_is_made_again(
    manager: v1.Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that ends removes empty parents, also in the moment between mkdir(2) and open(2)."""
    made, rivals = tree.makedirs, 3

    def makedirs(directory: str) -> list[str]:
        nonlocal rivals
        paths = made(directory)
        if rivals:
            rivals -= 1
            os.rmdir(directory)
        return paths

    monkeypatch.setattr(tree, "makedirs", makedirs)
    group = manager.create("job", {"pids": {"limit": 7}})
    assert rivals == 0
    assert file(manager, "pids", group, "pids.max") == "7"
    group.remove()


def file(manager: v1.Manager, controller: str, group: Cgroup, name: str) -> str:
    return Path(manager.directories[controller], group.path, name).read_text().strip()


def test_limits_are_in_the_kernel_and_reported(manager: v1.Manager) -> None:
    resources = {
        "memory": {"limit": 64 * 2**20, "swap": 128 * 2**20, "reservation": 2**20},
        "cpu": {"shares": 512, "quota": 50_000, "period": 100_000},
        "pids": {"limit": 30},
    }
    group = manager.create("limits", resources)
    assert file(manager, "memory", group, "memory.limit_in_bytes") == str(64 * 2**20)
    assert file(manager, "memory", group, "memory.memsw.limit_in_bytes") == str(128 * 2**20)
    assert file(manager, "cpu", group, "cpu.shares") == "512"
    assert file(manager, "cpu", group, "cpu.cfs_quota_us") == "50000"
    assert file(manager, "pids", group, "pids.max") == "30"
    assert {entry.limit: entry.effective for entry in group.applied} == {
        "memory.limit": 64 * 2**20, "memory.swap": 128 * 2**20, "memory.reservation": 2**20,
        "cpu.shares": 512, "cpu.quota": 50_000, "cpu.period": 100_000, "pids.limit": 30,
    }  # fmt: skip


def test_a_memory_limit_is_rounded_down_to_pages(manager: v1.Manager) -> None:
    (entry,) = manager.create("round", {"memory": {"limit": 8 * 2**20 + 1}}).applied
    assert (entry.requested, entry.effective) == (8 * 2**20 + 1, 8 * 2**20)


def test_unlimited_is_minus_one(manager: v1.Manager) -> None:
    group = manager.create("free", {"memory": {"limit": -1}, "pids": {"limit": -1}})
    assert [entry.effective for entry in group.applied] == [-1, -1]
    assert group.stats()["memory.limit"] is None


def test_a_value_that_the_kernel_changes_is_an_error(manager: v1.Manager) -> None:
    # cpu.shares is clamped to 2..262144 without an error.
    with pytest.raises(ContainerError, match=r"cannot set cpu.shares to 1: .* 2 in 'cpu.shares'"):
        manager.create("clamped", {"cpu": {"shares": 1}})


def test_nothing_is_left_when_a_limit_fails() -> None:
    manager = open_v1()
    with pytest.raises(ContainerError, match=r"cpu\.quota") as raised:
        manager.create("bad", {"memory": {"limit": 2**24}, "cpu": {"quota": 3}})
    assert raised.value.context["phase"] == "cgroup"
    assert isinstance(raised.value.__cause__, SyscallError)
    manager.close()
    assert left_behind(manager) == []


def test_best_effort_goes_on_and_says_so(manager: v1.Manager) -> None:
    resources = {"cpu": {"quota": 3}, "pids": {"limit": 9}}
    group = manager.create("best", resources, best_effort=True)
    assert [entry.limit for entry in group.applied] == ["pids.limit"]
    assert [(entry.limit, entry.requested) for entry in group.skipped] == [("cpu.quota", 3)]
    assert "Invalid argument" in group.skipped[0].reason


def test_a_missing_controller_is_refused_before_anything_starts() -> None:
    manager = open_v1("pids")
    with pytest.raises(HostError, match=r"pids\.limit needs the cgroup controller 'pids'"):
        manager.check({"pids": {"limit": 5}})
    with pytest.raises(HostError):
        manager.create("missing", {"pids": {"limit": 5}})
    assert left_behind(manager) == []


def test_a_missing_controller_is_skipped_by_best_effort() -> None:
    manager = open_v1("pids")
    group = manager.create("missing", {"pids": {"limit": 5}}, best_effort=True)
    assert [entry.limit for entry in group.skipped] == ["pids.limit"]
    assert group.stats()["pids.peak"] is None
    assert group.remove()
    manager.close()


def test_unified_keys_are_refused(manager: v1.Manager) -> None:
    with pytest.raises(ConfigError, match="unified needs cgroup v2"):
        manager.check({"unified": {"memory.high": "1"}})


def test_a_name_in_use_is_refused_and_kept(manager: v1.Manager) -> None:
    group = manager.create("same", {"pids": {"limit": 5}})
    with pytest.raises(ContainerError, match="File exists"):
        manager.create("same", {})
    assert file(manager, "pids", group, "pids.max") == "5"


def test_a_process_that_joins_is_in_every_hierarchy(manager: v1.Manager) -> None:
    group = manager.create("join", {"cpu": {"shares": 100}})
    pid = start(group, signal.pause)
    wanted = {"memory", "pids", "cpuacct", "freezer", "cpu"}
    with open_pidfd(pid):
        wait_for_member(group, pid)
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        entered = {line.split(":")[1] for line in lines if line.endswith("/join")}
        os.kill(pid, signal.SIGKILL)
    status(pid)
    assert {name for names in entered for name in names.split(",")} == wanted


@contextlib.contextmanager
def open_pidfd(pid: int) -> Iterator[int]:
    fd = os.pidfd_open(pid)
    try:
        yield fd
    finally:
        os.close(fd)


def wait_for_member(group: Cgroup, pid: int) -> None:
    """Wait until the child wrote its last tasks file."""
    last = group.directories[-1]
    until = time.monotonic() + 10
    while str(pid) not in Path(last, group.path, "tasks").read_text().split():
        assert time.monotonic() < until
        os.sched_yield()


def test_an_oom_kill_of_the_first_process_is_counted(manager: v1.Manager) -> None:
    group = manager.create("oom", {"memory": {"limit": 16 * 2**20, "swap": 16 * 2**20}})
    assert status(start(group, lambda: eat(64 * 2**20))) == -signal.SIGKILL
    stats = group.stats()
    assert stats["memory.oom_kills"] == 1
    assert stats["memory.limit"] == 16 * 2**20
    assert stats["memory.peak"] == pytest.approx(16 * 2**20, rel=0.1)
    assert stats["memory.failcnt"] != 0


def test_hits_of_the_memory_limit_are_counted(manager: v1.Manager, tmp_path: Path) -> None:
    group = manager.create("cache", {"memory": {"limit": 8 * 2**20}})

    def fill_page_cache() -> None:
        with open(tmp_path / "file", "wb") as out:
            for _ in range(24):
                out.write(bytes(2**20))

    assert status(start(group, fill_page_cache)) == 0
    assert group.stats()["memory.failcnt"]


def test_an_oom_kill_of_a_child_alone_is_counted(manager: v1.Manager) -> None:
    group = manager.create("child", {"memory": {"limit": 16 * 2**20, "swap": 16 * 2**20}})

    def parent() -> None:
        child = os.fork()
        if child == 0:
            eat(64 * 2**20)
            os._exit(0)
        os._exit(0 if status(child) == -signal.SIGKILL else 1)

    assert status(start(group, parent)) == 0
    assert group.stats()["memory.oom_kills"] == 1


def test_a_plain_sigkill_is_no_oom_kill(manager: v1.Manager) -> None:
    group = manager.create("plain", {"memory": {"limit": 16 * 2**20}})
    assert status(start(group, lambda: os.kill(os.getpid(), signal.SIGKILL))) == -signal.SIGKILL
    assert group.read_oom() == 0


def test_the_oom_descriptor_gets_ready_on_an_oom_kill(manager: v1.Manager) -> None:
    group = manager.create("watch", {"memory": {"limit": 16 * 2**20, "swap": 16 * 2**20}})
    fd, mask = group.watch_oom()
    poll = select.poll()
    poll.register(fd, mask)
    assert poll.poll(0) == []
    status(start(group, lambda: eat(64 * 2**20)))
    assert poll.poll(5000) == [(fd, select.POLLIN)]
    assert group.read_oom() == 1
    group.clear_oom()
    assert poll.poll(0) == []


def test_forks_above_the_pids_limit_fail_and_are_counted(manager: v1.Manager) -> None:
    group = manager.create("pids", {"pids": {"limit": 3}})

    def bomb() -> None:
        children = []
        try:
            for _ in range(10):
                child = os.fork()
                if child == 0:
                    signal.pause()
                children.append(child)
        except BlockingIOError:
            for child in children:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            os._exit(len(children))

    assert status(start(group, bomb)) == 2
    stats = group.stats()
    assert stats["pids.denied"] == 1
    assert stats["pids.limit"] == 3
    if os.path.exists(f"{manager.directories['pids']}/pids/pids.peak"):
        assert stats["pids.peak"] == 3


def test_a_throttled_container_shows_its_periods(manager: v1.Manager) -> None:
    group = manager.create("slow", {"cpu": {"quota": 2000, "period": 10_000}})

    def spin() -> None:
        while time.process_time() < 0.05:
            pass

    status(start(group, spin))
    stats = group.stats()
    assert stats["cpu.throttled_periods"]
    assert stats["cpu.throttled_s"]
    assert stats["cpu.periods"] >= stats["cpu.throttled_periods"]  # type: ignore[operator]  # ints here
    assert 0.04 < stats["cpu.user_s"] + stats["cpu.system_s"] < 1  # type: ignore[operator]  # floats here


def test_a_container_without_a_cpu_limit_has_no_throttling_figures(manager: v1.Manager) -> None:
    if manager.directories["cpu"] == manager.directories["cpuacct"]:
        pytest.skip("cpu is co-mounted with cpuacct here")
    assert manager.create("nocpu", {}).stats()["cpu.throttled_s"] is None


def test_a_cpuset_decides_where_a_process_may_run(manager: v1.Manager) -> None:
    cpu = min(os.sched_getaffinity(0))
    group = manager.create("set", {"cpu": {"cpus": str(cpu)}})
    pid = start(group, lambda: os._exit(0 if os.sched_getaffinity(0) == {cpu} else 1))
    assert status(pid) == 0


def test_a_cpuset_in_another_notation_counts_as_applied(manager: v1.Manager) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if cpus != list(range(len(cpus))) or len(cpus) < 2:
        pytest.skip("needs CPUs 0 and 1")
    (entry,) = manager.create("list", {"cpu": {"cpus": "1,0"}}).applied
    assert entry.effective == "0-1"


def test_a_cpu_that_does_not_exist_is_refused(manager: v1.Manager) -> None:
    with pytest.raises(ContainerError, match=r"cannot set cpu\.cpus to '999'"):
        manager.create("nocpu", {"cpu": {"cpus": "999"}})


def test_a_device_outside_the_rules_cannot_be_opened(manager: v1.Manager) -> None:
    group = manager.create("dev", {"devices": [DENY_ALL, allow(1, 3)]})

    def probe() -> None:
        os.close(os.open("/dev/null", os.O_RDWR))
        try:
            os.open("/dev/zero", os.O_RDONLY)
        except PermissionError:
            os._exit(7)

    assert status(start(group, probe)) == 7
    assert group.applied[-1].limit == "devices"


def test_access_letters_of_a_device_rule_count(manager: v1.Manager) -> None:
    group = manager.create("devr", {"devices": [DENY_ALL, allow(1, 5, "r")]})

    def probe() -> None:
        os.close(os.open("/dev/zero", os.O_RDONLY))
        try:
            os.open("/dev/zero", os.O_WRONLY)
        except PermissionError:
            os._exit(7)

    assert status(start(group, probe)) == 7


def whole_disk() -> tuple[int, int] | None:
    for disk in sorted(Path("/sys/block").iterdir()):
        major, minor = (disk / "dev").read_text().split(":")
        return int(major), int(minor)
    return None


@pytest.mark.skipif("blkio" not in LAYOUT.v1, reason="needs the blkio controller")
@pytest.mark.skipif(whole_disk() is None, reason="needs a block device")
def test_a_throttle_of_a_disk_is_applied(manager: v1.Manager) -> None:
    major, minor = whole_disk() or (0, 0)
    rule = {"major": major, "minor": minor, "rate": 2**20}
    group = manager.create("io", {"blockIO": {"throttleWriteBpsDevice": [rule]}})
    assert file(manager, "blkio", group, "blkio.throttle.write_bps_device") == (
        f"{major}:{minor} {2**20}"
    )
    assert group.applied[0].effective == 2**20


def disk_of(path: str) -> Path:
    device = os.stat(path).st_dev
    return Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/queue")


@pytest.mark.skipif(not disk_of("/tmp").exists(), reason="needs /tmp on a whole disk")
@pytest.mark.skipif("blkio" not in LAYOUT.v1, reason="needs the blkio controller")
def test_bytes_written_to_a_throttled_disk_are_counted(manager: v1.Manager) -> None:
    path = f"/tmp/gocker-test-{os.getpid()}"
    device = os.stat("/tmp").st_dev
    rule = {"major": os.major(device), "minor": os.minor(device), "rate": 2**30}
    group = manager.create("bytes", {"blockIO": {"throttleWriteBpsDevice": [rule]}})

    def write() -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
        os.writev(fd, [mmap.mmap(-1, 65_536)])

    try:
        assert status(start(group, write)) == 0
    finally:
        os.unlink(path)
    assert group.stats()["io.write_bytes"] == 65_536


def test_a_throttle_of_no_disk_is_refused(manager: v1.Manager) -> None:
    rule = {"major": 4000, "minor": 0, "rate": 2**20}
    with pytest.raises(ContainerError, match="4000:0") as raised:
        manager.create("noio", {"blockIO": {"throttleWriteBpsDevice": [rule]}})
    assert "does not exist" in (raised.value.hint or "")


def test_freeze_stops_and_thaw_continues(manager: v1.Manager) -> None:
    group = manager.create("freeze", {})

    def check_frozen() -> None:
        assert file(manager, "freezer", group, "freezer.state") == "FROZEN"

    check_freezing(group, check_frozen)


def fork_widely() -> None:
    """Keep eight chains going in which each process makes its successor and exits."""
    for _ in range(3):
        os.fork()
    fork_forever()


def test_kill_ends_a_fork_loop(manager: v1.Manager) -> None:
    group = manager.create("loop", {"pids": {"limit": 20}})
    # Each process forks its successor and exits: a list of PIDs is old when it is read.
    status(start(group, fork_widely))
    group.kill()
    assert group.wait_empty(10)
    assert group.remove()


def test_kill_ends_a_fork_loop_without_a_freezer() -> None:
    manager = open_v1("freezer")
    group = manager.create("loop", {"pids": {"limit": 20}})
    status(start(group, fork_widely))
    group.kill()
    assert group.wait_empty(10)
    assert group.remove()
    manager.close()


def test_kill_ends_a_frozen_container(manager: v1.Manager) -> None:
    group = manager.create("ice", {})
    pid = start(group, signal.pause)
    wait_for_member(group, pid)
    group.freeze(True)
    group.kill()
    assert status(pid) == -signal.SIGKILL


def test_remove_takes_nested_cgroups_along(manager: v1.Manager) -> None:
    group = manager.create("nest", {})
    below = Path(manager.directories["memory"], "nest", "a", "b")
    below.mkdir(parents=True)
    assert group.remove()
    assert not Path(manager.directories["memory"], "nest").exists()


def test_remove_says_when_a_process_is_still_inside(manager: v1.Manager) -> None:
    group = manager.create("busy", {})
    pid = start(group, signal.pause)
    wait_for_member(group, pid)
    assert not group.remove()
    os.kill(pid, signal.SIGKILL)
    status(pid)
    assert group.remove()


def test_set_raises_both_memory_limits_in_a_working_order(manager: v1.Manager) -> None:
    group = manager.create("grow", {"memory": {"limit": 2**24, "swap": 2**24}})
    group.set({"memory": {"limit": 2**26, "swap": 2**26}})
    assert file(manager, "memory", group, "memory.limit_in_bytes") == str(2**26)
    assert file(manager, "memory", group, "memory.memsw.limit_in_bytes") == str(2**26)


def test_set_lowers_both_memory_limits_too(manager: v1.Manager) -> None:
    group = manager.create("shrink", {"memory": {"limit": 2**26, "swap": 2**26}})
    group.set({"memory": {"limit": 2**24, "swap": 2**24}})
    assert file(manager, "memory", group, "memory.memsw.limit_in_bytes") == str(2**24)
    assert group.stats()["memory.limit"] == 2**24


def test_set_moves_a_running_container_into_a_new_hierarchy(manager: v1.Manager) -> None:
    group = manager.create("late", {})
    pid = start(group, signal.pause)
    wait_for_member(group, pid)
    cpu = min(os.sched_getaffinity(0))
    group.set({"cpu": {"cpus": str(cpu)}})
    assert os.sched_getaffinity(pid) == {cpu}
    group.kill()
    status(pid)


def test_set_misses_no_process_of_a_fork_loop(manager: v1.Manager) -> None:
    group = manager.create("lateloop", {"pids": {"limit": 20}})
    status(start(group, fork_widely))
    group.set({"cpu": {"shares": 100}})
    group.freeze(True)
    inside = tree.pids("lateloop", manager.fd(manager.directories["cpu"]))
    assert inside == group.pids() != []
    group.kill()


def test_sweep_removes_only_what_is_dead(manager: v1.Manager) -> None:
    group = manager.create("run1-a", {})
    pid = start(group, fork_once)
    wait_for_member(group, pid)
    manager.create("run2-a", {})
    group.close_fds()
    other = v1.Manager(manager.directories)
    assert other.sweep(lambda name: name.startswith("run1-")) == ["run1-a"]
    other.close()
    assert status(pid) == -signal.SIGKILL
    assert not Path(manager.directories["pids"], "run1-a").exists()
    assert Path(manager.directories["pids"], "run2-a").exists()


def fork_once() -> None:
    os.fork()
    signal.pause()


def test_a_parent_removed_by_another_gocker_is_made_again(manager: v1.Manager) -> None:
    manager.create("one", {}).remove()
    for directory in manager.directories.values():
        if os.path.isdir(directory):
            os.rmdir(directory)
    group = manager.create("two", {"pids": {"limit": 4}})
    assert file(manager, "pids", group, "pids.max") == "4"


def test_a_path_of_several_parts_makes_its_parents(manager: v1.Manager) -> None:
    group = manager.create("run/job/1", {"cpu": {"cpus": "0"}})
    assert file(manager, "cpuset", group, "cpuset.cpus") == "0"


def test_the_callers_own_limits_stay_in_force() -> None:
    """The default parent is below the own cgroup: see /proc/self/cgroup."""
    from gocker.cgroup import open_manager

    manager = open_manager()
    own = LAYOUT.v1["memory"].directory
    assert manager.directories["memory"] == f"{own}/gocker"


def test_no_descriptor_is_left_open(manager: v1.Manager) -> None:
    manager.create("warm", {"cpu": {"shares": 9}}).remove()
    before = len(os.listdir("/proc/self/fd"))
    group = manager.create("fds", {"cpu": {"shares": 9}, "memory": {"limit": 2**24}})
    group.fds()
    group.watch_oom()
    group.stats()
    assert group.remove()
    assert len(os.listdir("/proc/self/fd")) == before
