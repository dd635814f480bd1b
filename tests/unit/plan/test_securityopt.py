from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gocker import oci
from gocker.errors import PlanError
from gocker.plan import securityopt

CAPS = frozenset({"CAP_KILL"})
PROFILE: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 1,
    "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
    ],
    "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "comment": "", "includes": {}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"names": ["future"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.1"}},
        {"names": ["kill"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_KILL"]}},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_KILL"]}},
        {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}},
        {"names": ["x"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}},
        {"name": "old", "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
    ],
}


def test_dockers_format_for_one_host() -> None:
    made = securityopt.convert(PROFILE, "x86_64", "6.1.0-13-amd64", CAPS)
    assert made["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert (made["defaultAction"], made["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)
    assert [rule["names"][0] for rule in made["syscalls"]] == [
        "read", "ptrace", "kill", "arch_prctl", "old",
    ]  # fmt: skip
    assert made["syscalls"][-1]["errnoRet"] == 38
    arm = securityopt.convert(PROFILE, "aarch64", "6.1", frozenset())
    assert arm["architectures"] == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    assert [rule["names"][0] for rule in arm["syscalls"]] == [
        "read", "ptrace", "clone", "x", "old",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"defaultAction": "SCMP_ACT_ALLOW", "unknown": 1}', "{" * 5000,
     '{"defaultAction": "X", "syscalls": [{"action": "X"}]}'],
)  # fmt: skip
def test_a_file_that_is_no_profile_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "profile.json").write_text(content)
    with pytest.raises(PlanError, match=r"seccomp=profile\.json"):
        securityopt.profile("profile.json", str(tmp_path), CAPS)


def config() -> oci.Config:
    return {
        "ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": {"args": ["x"], "cwd": "/"},
        "linux": {"maskedPaths": ["/proc/keys", "/sys/power"], "readonlyPaths": ["/proc/sys"]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("option", "masked", "readonly"),
    [
        ("mask=/a:/b", ["/proc/keys", "/sys/power", "/a", "/b"], ["/proc/sys"]),
        ("unmask=/proc/keys", ["/sys/power"], ["/proc/sys"]),
        ("unmask=/proc/*", ["/sys/power"], []),
        ("unmask:ALL", [], []),
        ("systempaths=unconfined", [], []),
    ],
)
def test_masks(option: str, masked: list[str], readonly: list[str]) -> None:
    made = config()
    securityopt.apply(made, [option], "/", ())
    assert (made["linux"]["maskedPaths"], made["linux"]["readonlyPaths"]) == (masked, readonly)


def test_labels_of_security_modules(tmp_path: Path) -> None:
    made = config()
    securityopt.apply(made, ["apparmor=mine", "label=disable"], str(tmp_path), ())
    assert made["process"]["apparmorProfile"] == "mine"
    with pytest.raises(PlanError, match="makes no SELinux labels"):
        securityopt.apply(made, ["label=type:x_t"], "/", ())
