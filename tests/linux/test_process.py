"""OCI's process, as its program finds itself."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import shutil
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gocker.linux import capability
from tests.support.core import Core, Outcome, config

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    with Core() as made:
        yield made


def run(
    core: Core, rootfs: Path, script: str, *, linux: dict[str, Any] | None = None, **process: Any
) -> Outcome:
    made = config(rootfs, "sh", "-c", script, **process)
    made["linux"] |= linux or {}
    return core.run(made, overlay={"lower": [str(rootfs)]})


SCHED = "grep -E '^policy|^prio' /proc/self/sched"


@pytest.mark.parametrize(
    ("scheduler", "policy", "nice"),
    [
        ({"policy": "SCHED_OTHER", "nice": 7}, "0", "7"),
        ({"policy": "SCHED_BATCH", "nice": 3}, "3", "3"),
        ({"policy": "SCHED_IDLE"}, "5", "0"),
        ({"policy": "SCHED_OTHER", "nice": -5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, "0", "-5"),
    ],
)
def test_scheduler(
    core: Core, rootfs: Path, scheduler: dict[str, Any], policy: str, nice: str
) -> None:
    outcome = run(core, rootfs, "read -r line </proc/$$/stat; echo ${line##*) }",
                  scheduler=scheduler)  # fmt: skip
    fields = outcome.output.split()  # from the third field of proc_pid_stat(5) on
    assert (fields[41 - 3], fields[19 - 3]) == (policy, nice)


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("scheduler", {"policy": "SCHED_X"}, "process.scheduler.policy: unknown value 'SCHED_X'"),
        ("scheduler", {"policy": "SCHED_OTHER", "flags": ["X"]}, "process.scheduler.flags"),
        ("scheduler", {"policy": "SCHED_FIFO", "priority": 1000}, "sched_setattr"),
        ("ioPriority", {"class": "IOPRIO_CLASS_X"}, "process.ioPriority.class"),
        ("ioPriority", {"class": "IOPRIO_CLASS_BE", "priority": 8}, "is not in 0..7"),
        ("rlimits", [{"type": "RLIMIT_X", "soft": 1, "hard": 1}], "unknown type 'RLIMIT_X'"),
        ("rlimits", [{"type": "getrlimit", "soft": 1, "hard": 1}], "unknown type 'getrlimit'"),
        ("rlimits", [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}], "is above the hard limit 1"),
        ("apparmorProfile", "some-profile", "does not have apparmor switched on"),
        ("selinuxLabel", "system_u:system_r:x_t:s0", "does not have selinux switched on"),
    ],
)
def test_what_cannot_be_is_named(core: Core, rootfs: Path, key: str, value: Any, word: str) -> None:
    assert word in run(core, rootfs, "true", **{key: value}).error


@pytest.mark.parametrize(
    ("linux", "word"),
    [
        ({"personality": {"domain": "SOLARIS"}}, "linux.personality.domain"),
        ({"personality": {"domain": "LINUX", "flags": ["X"]}}, "linux.personality.flags"),
        ({"memoryPolicy": {"mode": "MPOL_X"}}, "linux.memoryPolicy.mode"),
        ({"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "x"}}, "linux.memoryPolicy.nodes"),
        ({"mountLabel": "system_u:object_r:x_t:s0"}, "does not have selinux switched on"),
        ({"timeOffsets": {"monotonic": {"secs": 5}}}, "need a new time namespace"),
    ],
)
def test_what_cannot_be_of_linux_is_named(
    core: Core, rootfs: Path, linux: dict[str, Any], word: str
) -> None:
    assert word in run(core, rootfs, "true", linux=linux).error


def test_io_priority(core: Core, rootfs: Path) -> None:
    wanted = {"class": "IOPRIO_CLASS_IDLE", "priority": 0}
    assert run(core, rootfs, "ionice", ioPriority=wanted).output.startswith("idle")


def test_personality(core: Core, rootfs: Path) -> None:
    linux = {"personality": {"domain": "LINUX32"}}
    assert run(core, rootfs, "uname -m", linux=linux).lines == ["i686"]
    assert run(core, rootfs, "uname -m").lines == [os.uname().machine]


@pytest.mark.skipif(not Path("/proc/self/numa_maps").exists(), reason="no NUMA in this kernel")
def test_memory_policy(core: Core, rootfs: Path) -> None:
    linux = {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0"}}
    outcome = run(core, rootfs, "cat /proc/self/numa_maps", linux=linux)
    assert all(line.split()[1] == "bind:0" for line in outcome.lines)


def test_capabilities_that_do_not_exist_are_left_out(core: Core, rootfs: Path) -> None:
    names = ["CAP_KILL", "CAP_OF_THE_FUTURE"]
    caps = dict.fromkeys(("bounding", "effective", "permitted"), names)
    outcome = run(core, rootfs, "grep Cap /proc/self/status", capabilities=caps)
    shown = {line.split()[0]: int(line.split()[1], 16) for line in outcome.lines}
    kill = 1 << capability.NUMBERS["CAP_KILL"]
    assert shown == {"CapInh:": 0, "CapPrm:": kill, "CapEff:": kill, "CapBnd:": kill, "CapAmb:": 0}


def test_all_five_sets(core: Core, rootfs: Path) -> None:
    caps = {
        "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_FOWNER"],
        "permitted": ["CAP_KILL", "CAP_CHOWN"],
        "inheritable": ["CAP_KILL"],
        "ambient": ["CAP_KILL"],
        "effective": ["CAP_KILL"],
    }
    outcome = run(core, rootfs, "grep Cap /proc/self/status", capabilities=caps,
                  user={"uid": 1000, "gid": 1000})  # fmt: skip
    kill, chown, fowner = (1 << capability.NUMBERS[f"CAP_{n}"] for n in ("KILL", "CHOWN", "FOWNER"))
    shown = {line.split()[0]: int(line.split()[1], 16) for line in outcome.lines}
    assert shown == {
        "CapInh:": kill, "CapPrm:": kill, "CapEff:": kill, "CapBnd:": kill | chown | fowner,
        "CapAmb:": kill,
    }  # fmt: skip


@pytest.mark.skipif(capability.is_held("CAP_SYS_RESOURCE"), reason="this root may raise limits")
def test_a_limit_out_of_reach_names_what_is_missing(core: Core, rootfs: Path) -> None:
    wanted = [{"type": "RLIMIT_NOFILE", "soft": 1 << 30, "hard": 1 << 30}]
    assert "above this host's hard limit" in run(core, rootfs, "true", rlimits=wanted).error


def test_umask_and_a_home_by_the_user(core: Core, rootfs: Path) -> None:
    user = {"uid": 1234, "gid": 2345, "umask": 0o27, "additionalGids": [7, 5]}
    outcome = run(core, rootfs, "umask; id -u; id -g; id -G; echo $HOME", user=user)
    assert outcome.lines == ["0027", "1234", "2345", "2345 5 7", "/home/alice"]


def test_a_working_directory_is_made_below_a_read_only_root(core: Core, rootfs: Path) -> None:
    made = config(rootfs, "pwd", cwd="/made/for/it")
    made["root"]["readonly"] = True
    outcome = core.run(made, overlay={"lower": [str(rootfs)]})
    assert outcome.lines == ["/made/for/it"]


# -- D7: what would change the host ---------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["kernel.core_pattern", "kernel/core_pattern", "net/../kernel/core_pattern",
     "net.ipv4/../../kernel/core_pattern", "vm.overcommit_memory", "kernel.hostname",
     "kernel.sysrq", "fs.file-max", "net..ipv4", "net", ""],
)  # fmt: skip
def test_d7_a_sysctl_of_the_host_is_refused(core: Core, rootfs: Path, name: str) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    outcome = run(core, rootfs, "true", linux={"sysctl": {name: "|/bin/true"}})
    assert "belongs to no namespace" in outcome.error
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern


@pytest.mark.parametrize(
    ("name", "missing"),
    [("net.ipv4.ip_forward", "network"), ("kernel.msgmax", "ipc"), ("fs.mqueue.msg_max", "ipc"),
     ("kernel.domainname", "uts")],
)  # fmt: skip
def test_d7_a_sysctl_needs_its_namespace(core: Core, rootfs: Path, name: str, missing: str) -> None:
    made = config(rootfs, "true")
    made["linux"]["sysctl"] = {name: "1"}
    spaces = made["linux"]["namespaces"]
    spaces.remove({"type": missing})
    outcome = core.run(made, overlay={"lower": [str(rootfs)]})
    assert f"no {missing} namespace of its own" in outcome.error
    name_of = {"network": "net"}.get(missing, missing)
    spaces.append({"type": missing, "path": f"/proc/self/ns/{name_of}"})
    outcome = core.run(made, overlay={"lower": [str(rootfs)]})
    assert f"no {missing} namespace of its own" in outcome.error


def test_sysctls_in_both_ways_of_writing(core: Core, rootfs: Path) -> None:
    sysctl = {"net/ipv4/conf/lo/forwarding": "1", "net.ipv4.conf.all.rp_filter": "2",
              "kernel.shmmni": "77", "fs.mqueue.msg_max": "12",
              "kernel.domainname": "some"}  # fmt: skip
    script = """cd /proc/sys; cat net/ipv4/conf/lo/forwarding net/ipv4/conf/all/rp_filter \
        kernel/shmmni fs/mqueue/msg_max kernel/domainname"""
    assert run(core, rootfs, script, linux={"sysctl": sysctl}).lines == [
        "1", "2", "77", "12", "some",
    ]  # fmt: skip


@pytest.mark.parametrize("key", ["hostname", "domainname"])
def test_names_need_a_uts_namespace(core: Core, rootfs: Path, key: str) -> None:
    made = config(rootfs, "true")
    made["linux"]["namespaces"].remove({"type": "uts"})
    made[key] = "renamed"
    assert "no uts namespace of its own" in core.run(made).error
    assert os.uname().nodename != "renamed"


# -- A2, A9, A10: programs and users --------------------------------------------------------------


@pytest.mark.parametrize(
    "program", ["/proc/self/exe", "/proc/1/exe", "/lnk", "/script", "/via", "/proc/self/fd/5"]
)
def test_a2_the_interpreter_is_no_program(
    core: Core, tmp_path: Path, rootfs: Path, program: str
) -> None:
    (tmp_path / "lnk").symlink_to("/proc/self/exe")
    (tmp_path / "via").symlink_to("/lnk")
    (tmp_path / "script").write_text("#!/proc/self/exe\nprint('python')\n")
    (tmp_path / "script").chmod(0o755)
    python = Path(sys.executable).resolve()
    before = (python.stat().st_mtime_ns, python.stat().st_size)
    made = config(rootfs, program, "-c", "print('python')")
    outcome = core.run(made, overlay={"lower": [str(tmp_path), str(rootfs)]})
    assert "cannot execute" in outcome.error or "no program" in outcome.error
    assert outcome.output == ""
    assert (python.stat().st_mtime_ns, python.stat().st_size) == before


USERS = {
    "1": (1, 0), "01": (1, 0), "1:": (1, 0), ":1": (0, 1), "1:2": (1, 2), "alice": (1234, 2345),
    "alice:root": (1234, 0), "1234": (1234, 2345), "4294967294": (4294967294, 0),
    "1000": (1000, 9),
    "-1": None, "4294967295": None, "4294967296": None, "18446744073709551616": None, "0x0": None,
    "root:0:0": None, " 1": None, "1 ": None, "\uff11": None, "nobody-here": None,
    "1:nogroup": None,
    "+1": None, "1_0": None, "0:-1": None, "1:4294967295": None, "root\n": None,
}  # fmt: skip


@pytest.mark.parametrize("user", USERS, ids=repr)
def test_a9_users_are_what_they_say(core: Core, tmp_path: Path, rootfs: Path, user: str) -> None:
    (tmp_path / "etc").mkdir()
    passwd = (rootfs / "etc/passwd").read_text()
    # A name of digits is no way to be root.
    extra = "1000:x:0:0:trap:/:/bin/sh\nreal:x:1000:9::/:/bin/sh\n"
    (tmp_path / "etc/passwd").write_text(passwd + extra)
    made = config(rootfs, "sh", "-c", "id -u; id -g; id -G", user={"username": user})
    outcome = core.run(made, overlay={"lower": [str(tmp_path), str(rootfs)]})
    wanted = USERS[user]
    if wanted is None:
        assert outcome.events[-1]["event"] == "failed", outcome
        return
    assert tuple(map(int, outcome.lines[:2])) == wanted
    mine = set(map(str, os.getgroups())) - {str(wanted[1])}
    assert not mine & set(outcome.lines[2].split())


@pytest.mark.parametrize("kind", ["fifo", "zero", "kmsg", "outside", "sparse", "line", "directory"])
@pytest.mark.parametrize("name", ["passwd", "group"])
def test_a10_files_of_the_image_that_are_traps(
    core: Core, tmp_path: Path, rootfs: Path, kind: str, name: str
) -> None:
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc" / name
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "directory":
        file.mkdir()
    elif kind in ("sparse", "line"):
        file.touch()
        os.truncate(file, 4 << 30)
        if kind == "line":
            with file.open("r+b") as stream:
                stream.write(b"x" * (8 << 20))
    else:
        target = {"zero": "/dev/zero", "kmsg": "/proc/kmsg", "outside": "../../../../etc/shadow"}
        file.symlink_to(target[kind])
    made = config(rootfs, "grep", "^Uid", "/proc/self/status", user={"username": "1000:1000"})
    outcome = core.run(made, overlay={"lower": [str(tmp_path), str(rootfs)]})
    assert outcome.output.split()[1] == "1000"
    made["process"]["user"] = {"username": "alice:audio"}
    outcome = core.run(made, overlay={"lower": [str(tmp_path), str(rootfs)]})
    assert "in the container" in outcome.error
    shadow = Path("/etc/shadow").read_text().splitlines()[0]
    assert shadow not in repr(outcome)


def test_ionice_is_there() -> None:
    assert shutil.which("busybox"), "this needs busybox-static"


# -- SCMP_ACT_NOTIFY ------------------------------------------------------------------------------


def _notifying(rootfs: Path, path: Path, script: str) -> dict[str, Any]:
    made = config(rootfs, "sh", "-c", script)
    made["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": str(path), "listenerMetadata": "meta",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    }  # fmt: skip
    return made


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_calls_are_asked_about(
    core: Core, rootfs: Path, tmp_path: Path, no_new_privileges: bool
) -> None:
    """The agent refuses every call with an errno of its own."""
    path = tmp_path / "agent"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen(1)
    server.settimeout(30)
    made = _notifying(rootfs, path, "mkdir /made 2>&1; test -d /made || echo not there")
    made["process"]["noNewPrivileges"] = no_new_privileges
    running = core.start(made, overlay={"lower": [str(rootfs)]})
    peer, _ = server.accept()
    with server, peer:
        text, fds, _, _ = socket.recv_fds(peer, 65536, 1)
        said = json.loads(text)
        assert (said["fds"], said["metadata"]) == (["seccompFd"], "meta")
        assert said["state"]["pid"] == said["pid"] == running.started()
        _refuse_once(fds[0], errno.EDQUOT)
        os.close(fds[0])
    assert running.finish().output.splitlines()[-1] == "not there"


def _refuse_once(listener: int, number: int) -> None:
    """Answer one notification: seccomp_unotify(2), struct seccomp_notif and its response."""
    assert select.select([listener], [], [], 30)[0]
    notification = bytearray(80)
    fcntl.ioctl(listener, 0xC0502100, notification)
    identifier = int.from_bytes(notification[:8], "little")
    response = struct.pack("=QqiI", identifier, 0, -number, 0)
    fcntl.ioctl(listener, 0xC0182101, response)


def test_nobody_to_ask(core: Core, rootfs: Path, tmp_path: Path) -> None:
    made = _notifying(rootfs, tmp_path / "nobody", "true")
    assert "listenerPath" in core.run(made, overlay={"lower": [str(rootfs)]}).error
