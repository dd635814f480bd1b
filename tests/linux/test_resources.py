"""Resources of OCI as the kernel keeps them, and their change while a container runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gocker import cgroup
from gocker.errors import ConfigError, ContainerError, HostError
from tests.support.core import Core, config

pytestmark = pytest.mark.root


def test_single_devices_are_denied(rootfs: Path) -> None:
    made = config(rootfs, "sh", "-c", """
        : </dev/zero && echo zero; ( : >/dev/full ) 2>/dev/null || echo no full
        ( : </dev/full ) && echo but read; : </dev/null && echo null
    """)  # fmt: skip
    made["linux"]["resources"]["devices"] = [
        {"allow": True, "access": "rwm"},
        {"allow": False, "type": "c", "major": 1, "minor": 7, "access": "w"},
    ]
    with Core() as core:
        outcome = core.run(made, overlay={"lower": [str(rootfs)]})
    assert outcome.lines == ["zero", "no full", "but read", "null"]


def _set(core: Core, rootfs: Path, resources: dict[str, Any]) -> str:
    made = config(rootfs, "true")
    made["linux"]["resources"] |= resources
    return core.run(made, overlay={"lower": [str(rootfs)]}).error


def test_a_controller_that_is_missing_is_named(rootfs: Path) -> None:
    """No host has all of them on v1, and this one's v2 has hugetlb only."""
    manager = cgroup.open_manager(name="gocker-test-missing")
    wanted = {
        "hugetlb": {"hugepageLimits": [{"pageSize": "2MB", "limit": 1 << 21}]},
        "rdma": {"rdma": {"none": {"hcaHandles": 1}}},
    }
    with Core() as core:
        for controller, resources in wanted.items():
            if controller not in manager.directories:
                assert f"needs the cgroup controller {controller!r}" in _set(
                    core, rootfs, resources
                )
    manager.close()


def test_limits_of_a_living_cgroup_change() -> None:
    manager = cgroup.open_manager(name="gocker-test-update")
    group = manager.create("one", {"memory": {"limit": 32 << 20}, "pids": {"limit": 5}})
    try:
        group.set({"memory": {"limit": 64 << 20}, "pids": {"limit": 9}, "cpu": {"shares": 512}})
        assert {name: group.limits[name] for name in ("memory.limit", "pids.limit")} == {
            "memory.limit": 64 << 20, "pids.limit": 9,
        }  # fmt: skip
        with pytest.raises((ConfigError, ContainerError, HostError)):
            group.set({"cpu": {"cpus": "4000"}})
        assert group.limits["pids.limit"] == 9
    finally:
        group.remove()
        manager.close()


def test_a_limit_below_what_is_in_use_is_checked_before() -> None:
    manager = cgroup.open_manager(name="gocker-test-check")
    group = manager.create("one", {"memory": {"limit": 64 << 20}})
    wait_fd, go_fd = os.pipe()
    there_fd, tell_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go_fd)
        group.add(os.getpid())
        memory = bytearray(16 << 20)
        os.write(tell_fd, b".")
        os.read(wait_fd, 1)
        os._exit(len(memory) & 1)
    try:
        os.read(there_fd, 1)
        with pytest.raises(ContainerError, match="bytes in use"):
            group.set({"memory": {"limit": 4 << 20, "checkBeforeUpdate": True}})
        assert group.limits["memory.limit"] == 64 << 20
        group.set({"memory": {"limit": 40 << 20, "checkBeforeUpdate": True}})
        assert group.limits["memory.limit"] == 40 << 20
    finally:
        for fd in (wait_fd, go_fd, there_fd, tell_fd):
            os.close(fd)
        os.waitpid(pid, 0)
        group.remove()
        manager.close()


def test_a_limit_that_no_kernel_has_is_told(rootfs: Path) -> None:
    made = config(rootfs, "true")
    made["linux"]["resources"]["memory"] = {"kernel": 1 << 24}
    with Core() as core:
        started = core.run(made, overlay={"lower": [str(rootfs)]}).started
    assert [entry[0] for entry in started["skipped"]] == ["memory.kernel"]
