"""Settings of both drivers, and writing them to plain files that stand for the kernel's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from errno import EINVAL
from pathlib import Path
from typing import Any

import pytest

from gocker.cgroup import limits, v1_limits, v2_limits, values
from gocker.cgroup.limits import Setting
from gocker.errors import ConfigError, ContainerError, SyscallError


def lines(settings: list[Setting]) -> list[tuple[str, str]]:
    return [(setting.file, setting.value) for setting in settings]


RESOURCES: dict[str, Any] = {
    "memory": {"limit": 8192, "swap": 12_288, "reservation": 4096},
    "cpu": {"shares": 1024, "quota": 50_000, "period": 100_000, "cpus": "0-1", "mems": "0"},
    "pids": {"limit": 7},
    "blockIO": {
        "weight": 100,
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}],
    },
}


def test_v1_files() -> None:
    assert lines(v1_limits.settings(RESOURCES)) == [
        ("memory.limit_in_bytes", "8192"),
        ("memory.memsw.limit_in_bytes", "12288"),
        ("memory.soft_limit_in_bytes", "4096"),
        ("cpu.shares", "1024"),
        ("cpu.cfs_period_us", "100000"),
        ("cpu.cfs_quota_us", "50000"),
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
        ("pids.max", "7"),
        ("blkio.bfq.weight", "100"),
        ("blkio.throttle.read_bps_device", "8:0 1000"),
    ]


def test_v2_files() -> None:
    assert lines(v2_limits.settings(RESOURCES)) == [
        ("memory.max", "8192"),
        ("memory.swap.max", "4096"),
        ("memory.low", "4096"),
        ("cpu.weight", "100"),
        ("cpu.max", "50000 100000"),
        ("cpu.max", "50000 100000"),
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
        ("pids.max", "7"),
        ("io.weight", "910"),
        ("io.max", "8:0 rbps=1000"),
    ]


def test_v2_prefers_bfqs_weight_where_the_kernel_has_it() -> None:
    assert lines(v2_limits.settings({"blockIO": {"weight": 100}}, bfq=True)) == [
        ("io.bfq.weight", "100")
    ]


@pytest.mark.parametrize("driver", [v1_limits.settings, v2_limits.settings])
@pytest.mark.parametrize(
    "resources",
    [{}, {"cpu": {"shares": 0}, "pids": {"limit": 0}, "blockIO": {"weight": 0}}, {"memory": None}],
)
def test_zero_and_null_are_not_set(driver: Any, resources: dict[str, Any]) -> None:
    assert driver(resources) == []


def test_minus_one_is_unlimited() -> None:
    resources = {"memory": {"limit": -1, "swap": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}}
    assert lines(v1_limits.settings(resources)) == [
        ("memory.limit_in_bytes", "-1"), ("memory.memsw.limit_in_bytes", "-1"),
        ("cpu.cfs_quota_us", "-1"), ("pids.max", "max"),
    ]  # fmt: skip
    assert lines(v2_limits.settings(resources)) == [
        ("memory.max", "max"), ("memory.swap.max", "max"), ("cpu.max", "max 100000"),
        ("pids.max", "max"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "resources",
    [
        {"memory": {"swappiness": 10}},
        {"memory": {"disableOOMKiller": True}},
        {"cpu": {"realtimeRuntime": 1000}},
        {"blockIO": {"leafWeight": 100}},
        {"unified": {"cgroup.procs": "1"}},
        {"unified": {"../memory.max": "1"}},
        {"memory": {"limit": "1g"}},
        {"cpu": {"cpus": "all"}},
    ],
)
def test_v2_refuses_what_it_cannot_express(resources: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        v2_limits.settings(resources)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    for name in ("pids.max", "memory.max"):
        (tmp_path / name).touch()
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


PIDS = v1_limits.pids(7)


def test_a_value_read_back_is_applied(directory: int, tmp_path: Path) -> None:
    applied, skipped = limits.apply(
        [PIDS], lambda s: limits.write_read(directory, s.file, s.value), "c", best_effort=False
    )
    assert (tmp_path / "pids.max").read_text() == "7"
    assert applied == [limits.Applied("pids.limit", 7, 7, "pids.max")]
    assert skipped == []


def test_a_missing_file_names_the_limit_and_the_call(directory: int) -> None:
    setting = v1_limits.settings({"cpu": {"burst": 5}})[0]
    with pytest.raises(ContainerError, match=r"c: cannot set cpu\.burst to 5: open") as raised:
        limits.apply([setting], lambda s: limits.write_read(directory, s.file, s.value), "c", False)
    assert "cpu.cfs_burst_us" in (raised.value.hint or "")
    assert raised.value.context["phase"] == "cgroup"


def test_another_value_than_asked_for_is_an_error() -> None:
    with pytest.raises(ContainerError, match=r"the kernel shows 5 in 'pids\.max'"):
        limits.apply([PIDS], lambda _: "5\n", "c", best_effort=False)


def test_best_effort_reports_another_value_as_skipped() -> None:
    applied, skipped = limits.apply([PIDS], lambda _: "5\n", "c", best_effort=True)
    assert applied == []
    assert skipped == [limits.Skipped("pids.limit", 7, "the kernel shows 5 in 'pids.max'")]


def test_an_invalid_value_is_tried_again_after_its_partner() -> None:
    first = Setting("memory", "a", "9", "a", 9, 9, values.number)
    second = Setting("memory", "b", "9", "b", 9, 9, values.number)
    written: list[str] = []

    def write(setting: Setting) -> str:
        written.append(setting.file)
        if written == ["a"]:
            raise SyscallError("write", EINVAL, "a")
        return setting.value

    applied, _ = limits.apply([first, second], write, "c", best_effort=False)
    assert written == ["a", "b", "a"]
    assert [entry.limit for entry in applied] == ["b", "a"]


OTHERS: dict[str, Any] = {
    "hugepageLimits": [{"pageSize": "2MB", "limit": (2 << 21) + 5}],
    "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10_000}},
}


def test_huge_pages_and_rdma() -> None:
    rdma = [("rdma.max", "mlx5_1 hca_handle=3"), ("rdma.max", "mlx5_1 hca_object=10000")]
    size = str((2 << 21) + 5)
    v1, v2 = v1_limits.settings(OTHERS), v2_limits.settings(OTHERS)
    assert lines(v1) == [("hugetlb.2MB.limit_in_bytes", size), *rdma]
    assert lines(v2) == [("hugetlb.2MB.max", size), *rdma]
    assert v2[0].expected == 2 << 21  # whole pages
    assert v2[1].read("mlx4 hca_handle=1 hca_object=1\nmlx5_1 hca_handle=3 hca_object=max\n") == 3


def test_network_is_of_v1_alone() -> None:
    network = {"classID": 0x100001, "priorities": [{"name": "eth0", "priority": 5}]}
    settings = v1_limits.settings({"network": network})
    assert lines(settings) == [
        ("net_cls.classid", str(0x100001)), ("net_prio.ifpriomap", "eth0 5"),
    ]  # fmt: skip
    assert settings[1].read("lo 0\neth0 5\n") == 5
    with pytest.raises(ConfigError, match=r"network\.classID does not exist in cgroup v2"):
        v2_limits.settings({"network": network})
    assert v2_limits.settings({"network": {"classID": 0, "priorities": []}}) == []


@pytest.mark.parametrize(
    ("limits_", "word"),
    [
        ([{"pageSize": "2Mb", "limit": 1}], "'2Mb'"),
        ([{"pageSize": "../x", "limit": 1}], "'../x'"),
        ([{"pageSize": "2MB", "limit": 1}] * 2, "'2MB'"),
    ],
)
def test_page_sizes_that_are_none(limits_: list[dict[str, Any]], word: str) -> None:
    for settings in (v1_limits.settings, v2_limits.settings):
        with pytest.raises(ConfigError, match=word):
            settings({"hugepageLimits": limits_})


def test_accounting_without_children_is_refused() -> None:
    for settings in (v1_limits.settings, v2_limits.settings):
        assert settings({"memory": {"useHierarchy": True}}) == []
        with pytest.raises(ConfigError, match="useHierarchy"):
            settings({"memory": {"useHierarchy": False}})
