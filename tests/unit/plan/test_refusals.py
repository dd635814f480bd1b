from __future__ import annotations

import pytest

from gocker.plan import refusals
from gocker.plan.posture import default_seccomp
from tests.unit.plan.test_profiles import container

PROFILE = default_seccomp((), "x86_64")


@pytest.mark.parametrize(
    ("name", "answer", "allows"),
    [
        ("mount", "EPERM", "cap_add: [SYS_ADMIN]"),
        ("ptrace", "EPERM", "cap_add: [SYS_PTRACE]"),
        ("bpf", "EPERM", "cap_add: [SYS_ADMIN] or [BPF]"),
        ("keyctl", "EPERM", "no key allows this one alone"),
        ("socket", "EPERM", "AF_PACKET: cap_add: [NET_RAW]"),
        ("clone3", "ENOSYS", "nothing to do"),
        ("a_new_call", "ENOSYS", "nothing to do"),
    ],
)
def test_a_refused_call_names_its_key(name: str, answer: str, allows: str) -> None:
    found = refusals.call(PROFILE, name, 2, {"b", "a"})
    assert (found.answer, found.times, found.by) == (answer, 2, "a, b")
    assert allows in found.allows
    assert found.benign is (answer == "ENOSYS")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("cat: /proc/kcore: Permission denied", "a masked path"),
        ("sh: can't create /proc/sys/kernel/x: Read-only file system", "a read-only path of /proc"),
        ("touch: /sys/x: Read-only file system", "/sys is read-only"),
        ("touch: /data/x: Read-only file system", "/data is mounted read-only"),
        ("touch: /x: Read-only file system", "see the system calls"),
        ("open /dev/kvm: Operation not permitted", "devices: [/dev/kvm]"),
        ("fork: Resource temporarily unavailable", "pids_limit is 512"),
        ("chown: Operation not permitted", "a missing capability"),
    ],
)
def test_what_a_program_says_is_explained(line: str, reason: str) -> None:
    mount = {"type": "bind", "source": "/d", "target": "/data", "read_only": True}
    (found,) = refusals.said(container(volumes=[mount]), f"hello\n{line}\n{line}\n")
    assert found.times == 2
    assert reason in found.allows


def test_a_read_only_root_is_named() -> None:
    (found,) = refusals.said(container(read_only=True), "touch: /x: Read-only file system")
    assert "the root is read-only" in found.allows
