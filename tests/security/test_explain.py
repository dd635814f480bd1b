"""`gocker explain` tells what was really refused, and changes nothing for the program."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import seccomp_table as table
from tests.support.command import Gocker
from tests.support.netns import Namespace

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def hosts_network(gocker: Gocker) -> Iterator[None]:
    """Audit records come in the first network namespace only."""
    gocker.netns = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    yield
    os.close(gocker.netns)


def test_explain_does_not_take_silence_for_innocence(gocker: Gocker) -> None:
    assert gocker.netns is not None
    os.close(gocker.netns)
    namespace = Namespace()
    gocker.netns = namespace.fd
    path = gocker.write({"services": {"job": {"command": ["true"]}}})
    result = gocker.command("explain", str(path), "job")
    assert result.code == 3
    assert "the kernel's audit records do not come here" in result.err


def explain(gocker: Gocker, command: list[str], **keys: Any) -> tuple[int, dict[str, Any]]:
    path = gocker.write({"services": {"job": {"command": command, **keys}}})
    result = gocker.command("explain", str(path), "job", "--format", "json")
    return result.code, json.loads(result.out)


def test_explain_names_each_refused_call_with_its_key(gocker: Gocker, probe: Path) -> None:
    calls = [table.call("unshare", 0x10000000), table.call("ptrace", 0), table.call("ptrace", 0),
             table.call("io_uring_setup", 0), table.call("clone3", 0, 0)]  # fmt: skip
    code, found = explain(gocker, ["/p/probe", *calls], volumes=[f"{probe.parent}:/p:ro"])
    rows = {row["what"]: row for row in found["refused"]}
    assert rows["unshare()"]["allows"] == "cap_add: [SYS_ADMIN]"
    assert (rows["ptrace()"]["times"], rows["ptrace()"]["answer"]) == (2, "EPERM")
    assert rows["ptrace()"]["by"] == "probe"
    assert rows["clone3()"]["benign"] is True
    assert "io_uring_setup()" in rows
    assert code == 1
    log = gocker.command("logs", str(gocker.root / "spec.yaml"), "--no-log-prefix")
    assert log.out == "1\n1\n1\n1\n38\n", "the answers are those of an ordinary run"


def test_explain_names_a_32_bit_program(gocker: Gocker, probe: Path) -> None:
    _, found = explain(gocker, ["/p/probe", "i386:20"], volumes=[f"{probe.parent}:/p:ro"])
    assert [row["answer"] for row in found["refused"]] == ["SIGSYS"]


def test_explain_says_so_when_nothing_was_refused(gocker: Gocker) -> None:
    assert explain(gocker, ["true"]) == (
        0, {"service": "job", "result": "ok, exit code 0", "refused": []},
    )  # fmt: skip


def test_explain_names_paths(gocker: Gocker) -> None:
    code, found = explain(gocker, ["sh", "-c", "echo x >/proc/sys/kernel/hostname; :"])
    (row,) = found["refused"]
    assert "a read-only path of /proc" in row["allows"]
    assert code == 1


def test_explain_looks_at_a_past_run(gocker: Gocker) -> None:
    result = gocker.sh("touch /sys/x")
    path = str(gocker.root / "spec.yaml")
    again = gocker.command("explain", path, f"{result.run_id}/job", "--format", "json")
    (row,) = json.loads(again.out)["refused"]
    assert "/sys is read-only" in row["allows"]


def test_audit_fails_and_passes(gocker: Gocker) -> None:
    path = str(gocker.write({"services": {"job": {"command": ["true"]}}}))
    bad = gocker.command("audit", path, "--format", "json")
    ids = {row["id"] for row in json.loads(bad.out)}
    assert (bad.code, {"CIS 5.10", "K8S runAsNonRoot"} <= ids) == (1, True)
    service = {"command": ["true"], "user": "1:1", "mem_limit": "64m", "cpus": 1,
               "x-gocker": {"profile": "strict"}}  # fmt: skip
    path = str(gocker.write({"services": {"job": service}}))
    good = gocker.command("audit", path)
    assert (good.code, good.out.splitlines()[-1]) == (0, "33 checks, 0 failed")
