"""Services that share namespaces, cgroup parents, devices and volumes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gocker.plan import posture
from tests.support.command import Gocker

pytestmark = pytest.mark.root

# Runs until it is stopped, and has something of each namespace to find.
SEEN = "for f in /proc/[0-9]*/comm; do read name <$f; [ $name = sleep ] && echo seen; done"
SERVER = ["sh", "-c", "echo shared >/dev/shm/file; exec sleep 1000"]


def with_server(**job: Any) -> dict[str, Any]:
    server = {"command": SERVER, "ipc": "shareable", "x-gocker": {"role": "support"}}
    return {"services": {"server": server, "job": job}}


@pytest.mark.parametrize("mode", ["host", "auto"])
def test_pid_and_ipc_of_another_service(gocker: Gocker, mode: str) -> None:
    spec = with_server(
        command=["sh", "-c", "until [ -e /dev/shm/file ]; do :; done; cat /dev/shm/file; "
                 f"{SEEN}; id -u"],
        pid="service:server", ipc="service:server",
    )  # fmt: skip
    spec["x-gocker"] = {"userns": mode}
    result = gocker.up(spec)
    assert result.log().splitlines() == ["shared", "seen", "0"], result


def test_without_sharing_nothing_is_seen(gocker: Gocker) -> None:
    spec = with_server(
        command=["sh", "-c", f"ls /dev/shm; {SEEN}; echo end"],
        depends_on=["server"],
    )
    assert gocker.up(spec).log() == "end\n"


def test_a_service_that_keeps_its_ipc_to_itself(gocker: Gocker) -> None:
    spec = with_server(command=["true"], ipc="service:server")
    spec["services"]["server"]["ipc"] = "private"
    result = gocker.up(spec)
    assert result.code == 2
    assert "does not share its IPC namespace" in result.err


def test_namespaces_of_the_host(gocker: Gocker) -> None:
    result = gocker.sh(
        "for n in pid ipc uts cgroup net; do readlink /proc/self/ns/$n; done; hostname; "
        "cat /etc/hostname; ls /dev/shm | grep -c . ",
        pid="host", ipc="host", uts="host", cgroup="host",
    )  # fmt: skip
    lines = result.log().splitlines()
    own = [os.readlink(f"/proc/self/ns/{name}") for name in ("pid", "ipc", "uts", "cgroup")]
    assert lines[:4] == own
    assert lines[4] != os.readlink("/proc/self/ns/net")
    assert lines[5:7] == [os.uname().nodename] * 2
    (told,) = result.events("security.relaxed")
    assert [kind for kind in ("pid", "ipc", "uts", "cgroup") if kind not in str(told)] == []


def test_ipc_none_has_no_shared_memory(gocker: Gocker) -> None:
    result = gocker.sh("grep -c ' /dev/shm ' /proc/self/mountinfo; :", ipc="none")
    assert result.log() == "0\n"


@pytest.mark.parametrize(
    ("service", "word"),
    [
        ({"pid": "container:x"}, "refused: there are no containers outside"),
        ({"pid": "nowhere"}, "unknown mode 'nowhere'"),
        ({"pid": "service:nobody"}, "nobody"),
        ({"uts": "host", "hostname": "x"}, "would change the host's"),
        ({"pid": "host", "userns_mode": "auto"}, "need userns_mode: host"),
        ({"cgroup_parent": "/a/../../b"}, "is no path below the root"),
        ({"cgroup_parent": ".."}, "is no path below the root"),
        ({"privileged": True}, "--allow-privileged"),
        ({"storage_opt": {"size": "1G"}}, "has no quota"),
        ({"gpus": "all"}, "vendor's hook"),
        ({"devices": ["vendor.com/class=dev"]}, "CDI name"),
        ({"volumes_from": ["nobody"]}, "nobody"),
        ({"volumes_from": ["container:x"]}, "refused"),
        ({"device_cgroup_rules": ["c 1:3 rwx"]}, "device_cgroup_rules"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    gocker: Gocker, service: dict[str, Any], word: str
) -> None:
    result = gocker.job("true", **service)
    assert result.code == 2, result
    assert word in result.err + result.out
    assert result.records == []


def test_a_cgroup_parent_of_the_users_choice(gocker: Gocker) -> None:
    result = gocker.sh(
        "cat /proc/self/cgroup", cgroup="host", cgroup_parent="gocker-test-parent/inner",
        mem_limit="32m",
    )  # fmt: skip
    own = [line for line in result.log().splitlines() if "/gocker-test-parent/inner/" in line]
    assert own, result
    assert result.limits()["memory.limit"] == 32 << 20
    left = subprocess.run(
        ["find", "/sys/fs/cgroup", "-name", "gocker-test-parent"], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert left.stdout == ""


def test_device_cgroup_rules(gocker: Gocker) -> None:
    """mknod is not for containers, so the rules are read where v1 shows them."""
    rules = {"device_cgroup_rules": ["c 10:200 rwm", "b *:* r"]}
    result = gocker.sh("cat /sys/fs/cgroup/devices/devices.list; echo end", **rules)
    if Path("/sys/fs/cgroup/devices").exists():
        assert {"c 10:200 rwm", "b *:* r"} <= set(result.log().splitlines())
    (applied,) = [e for e in result.events("limit.applied") if e["limit"] == "devices"]
    assert applied["effective"] == len(posture.DEVICE_RULES) + 2


def test_privileged_where_it_is_allowed(gocker: Gocker) -> None:
    script = """
        grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status; ls /dev | grep -c .
        mount -t tmpfs none /tmp && echo mounted; head -c 1 /dev/mem >/dev/null 2>&1; echo $?
    """
    result = gocker.job("sh", "-c", script, options=("--allow-privileged",), privileged=True)
    lines = dict(line.split() for line in result.log().splitlines()[:3])
    held = int(Path("/proc/self/status").read_text().split("CapBnd:")[1].split()[0], 16)
    assert int(lines["CapEff:"], 16) == held
    assert (lines["Seccomp:"], lines["NoNewPrivs:"]) == ("0", "0")
    assert "mounted" in result.log()
    assert int(result.log().splitlines()[3]) > 14
    (told,) = result.events("security.relaxed")
    assert "capabilities" in str(told)


def test_volumes_of_another_service(gocker: Gocker, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    spec: dict[str, Any] = {
        "services": {
            "first": {
                "command": ["sh", "-c", "echo data >/data/file; echo bound >/bound/file"],
                "volumes": ["data:/data", f"{tmp_path}:/bound"],
            },
            "job": {
                "command": ["sh", "-c", "cat /data/file /bound/file; touch /data/x || echo ro"],
                "volumes_from": ["first:ro"],
                "depends_on": {"first": {"condition": "service_completed_successfully"}},
            },
        },
        "volumes": {"data": {}},
    }
    lines = gocker.up(spec).log().splitlines()
    assert {"data", "bound", "ro"} <= set(lines)


def test_volumes_with_options_of_the_local_driver(gocker: Gocker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of the host\n")
    tmp_path.chmod(0o755)
    spec: dict[str, Any] = {
        "services": {
            "job": {
                "command": ["sh", "-c", "cat /b/file; touch /b/x || echo ro; df -k /t | tail -1"],
                "volumes": ["bound:/b", "small:/t"],
            }
        },
        "volumes": {
            "bound": {"driver_opts": {"type": "none", "o": "bind,ro", "device": str(tmp_path)}},
            "small": {"driver_opts": {"type": "tmpfs", "o": "size=64k,uid=7", "device": "tmpfs"}},
        },
    }
    lines = gocker.up(spec).log().splitlines()
    assert {"of the host", "ro"} <= set(lines)
    assert [line.split()[1] for line in lines if line.endswith(" /t")] == ["64"]
    spec["volumes"]["small"]["driver_opts"] = {"type": "nfs", "o": "addr=x", "device": ":/x"}
    refused = gocker.up(spec)
    assert refused.code == 2
    assert "are not mounted by gocker" in refused.err


def test_swappiness_and_the_oom_killer_of_v1(gocker: Gocker) -> None:
    result = gocker.sh("true", mem_limit="32m", mem_swappiness=30, oom_kill_disable=True)
    if not Path("/sys/fs/cgroup/memory").exists():
        assert "does not exist in cgroup v2" in result.err
        return
    assert result.limits()["memory.swappiness"] == 30
    assert result.limits()["memory.disableOOMKiller"] == 1


def test_a_seccomp_profile_in_dockers_format(gocker: Gocker) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
    }
    (gocker.root / "profile.json").write_text(json.dumps(profile))
    result = gocker.sh("mkdir /x; grep Seccomp: /proc/self/status",
                       security_opt=["seccomp=./profile.json"])  # fmt: skip
    assert "No space left on device" in result.log()
    assert "Seccomp:\t2" in result.log()


def test_masks_of_the_users_choice(gocker: Gocker) -> None:
    result = gocker.sh("wc -c </etc/passwd; ls /home | wc -l",
                       security_opt=["mask=/etc/passwd:/home"])  # fmt: skip
    assert result.log().split() == ["0", "0"]
    shown = gocker.sh("wc -l </proc/keys", security_opt=["unmask=/proc/keys"])
    assert shown.code == 0


@pytest.mark.parametrize("option", ["seccomp", "no-new-privileges=maybe", "nothing", "mask="])
def test_security_options_that_are_none(gocker: Gocker, option: str) -> None:
    result = gocker.job("true", security_opt=[option])
    assert result.code == 2
    assert "unknown option" in result.err
