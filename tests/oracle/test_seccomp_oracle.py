"""The default profile under libseccomp, through runc and crun, answers as ours does."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import uuid
from collections.abc import Callable

import pytest

from gocker import oci
from gocker.linux import syscall_table
from gocker.plan import posture
from gocker.runtime import seccomp as compiler
from tests.support import bpf
from tests.support import seccomp_table as table

pytestmark = [pytest.mark.root, pytest.mark.oracle]

# crun refuses a hybrid cgroup layout; without these two mounts it is a v1 layout. Where they
# are not there, it is none.
PREPARE = "umount /sys/fs/cgroup/unified /sys/fs/cgroup/systemd 2>/dev/null;"


Run = Callable[[str, oci.Seccomp, list[str]], list[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a function that runs the probe in a container, and its lines of output."""
    bundle = tmp_path_factory.mktemp("bundle")
    for name in ("proc", "dev", "sys"):
        (bundle / "rootfs" / name).mkdir(parents=True)
    table.compile_probe(bundle / "rootfs")
    subprocess.run(["runc", "spec"], cwd=bundle, check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["terminal"] = False
    config["linux"] |= {
        "maskedPaths": [*posture.MASKED_PATHS],
        "readonlyPaths": [*posture.READONLY_PATHS],
        "sysctl": posture.SYSCTL,
    }
    config["linux"]["resources"]["devices"] = [*posture.DEVICE_RULES]
    config["mounts"] = posture.default_mounts()
    sets = posture.capabilities((), (), uid_is_root=True)
    config["process"]["capabilities"] = sets
    config["process"]["rlimits"] = posture.default_rlimits(
        {
            name: resource.getrlimit(getattr(resource, name))[1]
            for name in ("RLIMIT_CORE", "RLIMIT_MEMLOCK", "RLIMIT_NOFILE")
        }
    )

    def start(runtime: str, seccomp: oci.Seccomp, calls: list[str]) -> list[str]:
        assert shutil.which(runtime), f"this test needs {runtime}"
        config["process"]["args"] = ["/probe", *calls]
        config["linux"]["seccomp"] = seccomp
        (bundle / "config.json").write_text(json.dumps(config))
        container = f"gocker-test-{uuid.uuid4().hex[:12]}"
        command = f"{runtime} run {container}; code=$?; {runtime} delete -f {container}; exit $code"
        result = subprocess.run(
            ["unshare", "-m", "sh", "-c", (PREPARE if runtime == "crun" else "") + command],
            cwd=bundle, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()

    return start


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_the_default_profile_means_the_same_to(runtime: str, run: Run) -> None:
    rows = table.rows()
    lines = run(runtime, posture.default_seccomp(()), [text for text, _ in rows.values()])
    answers = dict(zip(rows, lines, strict=True))
    assert answers == {label: answer for label, (_, answer) in rows.items()}


def arg(index: int, operator: str, value: int, other: int = 0) -> oci.SeccompArg:
    op = f"SCMP_CMP_{operator}"
    return {"index": index, "op": op, "value": value, "valueTwo": other}


HIGH = 1 << 32
# Calls that take no arguments, so that any can be tried; each with one way to test them.
TESTS: dict[str, list[oci.SeccompArg]] = {
    "munlockall": [arg(0, "EQ", HIGH + 2)],
    "getuid": [arg(1, "NE", HIGH + 2)],
    "geteuid": [arg(0, "LT", HIGH + 2)],
    "getgid": [arg(0, "LE", HIGH + 2)],
    "getegid": [arg(0, "GE", HIGH + 2)],
    "sched_yield": [arg(0, "GT", HIGH + 2)],
    "setsid": [arg(0, "MASKED_EQ", HIGH + 6, HIGH + 2)],
    # Two tests of different arguments: and. Two of one argument: or.
    "sync": [arg(0, "GE", 2), arg(1, "EQ", HIGH + 2)],
    "vhangup": [arg(0, "EQ", 1), arg(0, "EQ", 3)],
}
VALUES = [0, 1, 2, 3, HIGH, HIGH + 1, HIGH + 2, HIGH + 3, 2 * HIGH + 2, 2**64 - 1]


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_operators_mean_the_same_to(runtime: str, run: Run) -> None:
    profile: oci.Seccomp = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 100, "args": args}
            for name, args in TESTS.items()
        ],
    }
    calls = [
        (name, (first, second)) for name in TESTS for first in VALUES for second in (0, HIGH + 2)
    ]
    lines = run(runtime, profile, [table.call(name, *args) for name, args in calls])
    program, _ = compiler.program(profile)
    arch = syscall_table.AUDIT_ARCH[syscall_table.NATIVE_ARCH[os.uname().machine]]
    ours = [bpf.run(program, table.NUMBERS[name], args, arch)[0] for name, args in calls]
    refused = [call for call, value in zip(calls, ours, strict=True) if value == bpf.errno(100)]
    assert [call for call, line in zip(calls, lines, strict=True) if line == "100"] == refused
