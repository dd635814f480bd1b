"""User namespaces of containers: mappings, idmapped layers and binds, who owns what."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gocker.plan import userns
from tests.support.command import Gocker
from tests.support.core import Core, config

pytestmark = pytest.mark.root

FIRST = 100_000
IDS = [{"containerID": 0, "hostID": FIRST, "size": 65536}]


@pytest.fixture(scope="module", params=["vfork", "clone3"])
def core(request: pytest.FixtureRequest) -> Iterator[Core]:
    with Core(vfork=request.param == "vfork") as made:
        yield made


def mapped(rootfs: Path, *args: str, ids: Any = IDS, **process: Any) -> dict[str, Any]:
    made = config(rootfs, *args, **process)
    made["linux"]["namespaces"].append({"type": "user"})
    made["linux"] |= {"uidMappings": ids, "gidMappings": ids}
    return made


def sh(core: Core, made: dict[str, Any], rootfs: Path, script: str, **how: Any) -> list[str]:
    made["process"]["args"] = ["sh", "-c", script]
    outcome = core.run(made, overlay={"lower": [str(rootfs)]}, **how)
    assert outcome.code == 0, outcome
    return outcome.lines


def test_root_inside_is_another_user_outside(core: Core, rootfs: Path) -> None:
    running = core.start(
        mapped(rootfs, "sh", "-c", "id -u; cat /proc/self/uid_map; read line"),
        overlay={"lower": [str(rootfs)]}, stdin=(pipe := os.pipe())[0],
    )  # fmt: skip
    try:
        pid = running.started()
        lines = [running.read_line(), running.read_line()]
        assert lines[0] == "0"
        assert lines[1].split() == ["0", str(FIRST), "65536"]
        assert os.stat(f"/proc/{pid}").st_uid == FIRST
        assert os.readlink(f"/proc/{pid}/ns/user") != os.readlink("/proc/self/ns/user")
    finally:
        os.close(pipe[0])
        os.close(pipe[1])
        running.finish()


def test_all_its_namespaces_belong_to_it(core: Core, rootfs: Path) -> None:
    made = mapped(rootfs)
    made["process"]["capabilities"] = {
        name: ["CAP_SYS_ADMIN", "CAP_NET_ADMIN"] for name in ("bounding", "effective", "permitted")
    }
    script = """
        hostname renamed && hostname
        mount -t tmpfs none /tmp && echo mounted
        ip link add dummy0 type dummy 2>/dev/null; ip link set lo down && echo lo
    """
    assert sh(core, made, rootfs, script) == ["renamed", "mounted", "lo"]


def test_layers_show_its_own_ids(core: Core, rootfs: Path) -> None:
    script = "stat -c '%u:%g' / /bin/busybox /etc/passwd; echo x >>/etc/passwd && echo written"
    lines = sh(core, mapped(rootfs), rootfs, script)
    assert lines == ["0:0", "0:0", "0:0", "written"]
    assert (rootfs / "etc/passwd").stat().st_uid == 0
    assert "x\n" not in (rootfs / "etc/passwd").read_text()


def test_hidden_directories_are_its_own(core: Core, rootfs: Path) -> None:
    made = mapped(rootfs, "sh", "-c", "stat -c '%u %a' /root && touch /root/x && echo made")
    how = {"overlay": {"lower": [str(rootfs)], "hidden": [["/root", 0o700]]}}
    assert core.run(made, **how).lines == ["0 700", "made"]


def test_devices_work_and_are_its_own(core: Core, rootfs: Path) -> None:
    made = mapped(rootfs)
    made["linux"]["devices"] = [
        {"path": "/dev/deep/seven", "type": "c", "major": 1, "minor": 7, "fileMode": 0o640,
         "uid": 5, "gid": 6},
    ]  # fmt: skip
    script = """
        echo lost >/dev/null && head -c 3 /dev/zero | wc -c
        stat -c '%F %t:%T %u' /dev/null; stat -c '%a %u:%g' /dev/deep/seven
        echo x >/dev/full || echo full; readlink /dev/fd; stat -c %u /dev
    """
    lines = [line for line in sh(core, made, rootfs, script) if "error" not in line]
    assert lines == [
        "3", "character special file 1:3 0", "640 5:6", "full", "/proc/self/fd", "0",
    ]  # fmt: skip


def test_a_bind_has_the_mapping_it_asks_for(core: Core, rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    tmp_path.chmod(0o755)
    made = mapped(rootfs)
    made["mounts"] += [
        {"destination": "/mapped", "source": str(tmp_path), "options": ["rbind", "ridmap"]},
        {"destination": "/plain", "source": str(tmp_path), "options": ["rbind"]},
        {"destination": "/own", "source": str(tmp_path), "options": ["rbind", "idmap"],
         "uidMappings": [{"containerID": 0, "hostID": FIRST + 7, "size": 10}],
         "gidMappings": [{"containerID": 0, "hostID": FIRST + 8, "size": 10}]},
    ]  # fmt: skip
    script = """
        stat -c '%u:%g' /mapped/mine /plain/mine /own/mine
        touch /mapped/new && echo made; touch /plain/new 2>/dev/null || echo refused
    """
    assert sh(core, made, rootfs, script) == ["0:0", "65534:65534", "7:8", "made", "refused"]
    assert (tmp_path / "new").stat().st_uid == 0


def test_a_source_that_only_the_host_s_root_can_reach(
    core: Core, rootfs: Path, tmp_path: Path
) -> None:
    (tmp_path / "shut/inner").mkdir(parents=True)
    (tmp_path / "shut").chmod(0o700)
    made = mapped(rootfs)
    made["mounts"].append(
        {"destination": "/v", "source": f"{tmp_path}/shut/inner", "options": ["bind", "idmap"]}
    )
    assert sh(core, made, rootfs, "touch /v/x && stat -c %u /v/x") == ["0"]


def test_sysctls_and_generated_files(core: Core, rootfs: Path) -> None:
    made = mapped(rootfs)
    made["linux"]["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "7", "kernel.msgmax": "9999"}
    made["linux"]["maskedPaths"] = ["/proc/keys", "/sys/firmware"]
    made["linux"]["readonlyPaths"] = ["/proc/sys"]
    made["hostname"] = "mapped"
    script = """
        cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax /etc/issue
        wc -c </proc/keys; ls /sys/firmware; hostname; stat -c %u:%g /etc/issue
        echo 1 2>/dev/null >/proc/sys/net/ipv4/ip_unprivileged_port_start || echo readonly
    """
    files = [{"path": "/etc/issue", "content": "hello\n", "mode": 0o600, "uid": 3, "gid": 4}]
    lines = sh(core, made, rootfs, script, files=files)
    assert lines == ["7", "9999", "hello", "0", "mapped", "3:4", "readonly"]


def test_another_user_of_it(core: Core, rootfs: Path) -> None:
    made = mapped(rootfs, user={"uid": 1234, "gid": 2345, "additionalGids": [29]})
    made["process"]["capabilities"] = {}
    assert sh(core, made, rootfs, "id -u; id -g; id -G; cat /proc/self/oom_score_adj")[:3] == [
        "1234", "2345", "2345 29",
    ]  # fmt: skip


def test_a_user_outside_of_the_mapping_is_refused(core: Core, rootfs: Path) -> None:
    made = mapped(rootfs, "true", user={"uid": 70_000, "gid": 0})
    outcome = core.run(made, overlay={"lower": [str(rootfs)]})
    assert "70000" in outcome.error
    assert "not mapped" in outcome.error


@pytest.mark.parametrize(
    ("ids", "word"),
    [
        ([], "container id 0 is not mapped"),
        ([{"containerID": 1, "hostID": 5, "size": 9}], "container id 0 is not mapped"),
        ([{"containerID": 0, "hostID": 5, "size": 0}], "out of range"),
        ([{"containerID": 0, "hostID": 4294967290, "size": 9}], "out of range"),
        (
            [
                {"containerID": 0, "hostID": 5, "size": 9},
                {"containerID": 8, "hostID": 90, "size": 9},
            ],
            "overlaps",
        ),
    ],
)
def test_mappings_that_cannot_be(core: Core, rootfs: Path, ids: Any, word: str) -> None:
    outcome = core.run(mapped(rootfs, "true", ids=ids))
    assert word in outcome.error
    assert "uidMappings" in outcome.error


def test_several_mappings_and_a_single_id(core: Core, rootfs: Path) -> None:
    ids = [
        {"containerID": 0, "hostID": 200_000, "size": 1000},
        {"containerID": 1000, "hostID": 0, "size": 1},
    ]
    assert sh(core, mapped(rootfs, ids=ids), rootfs, "cat /proc/self/gid_map | wc -l") == ["2"]
    made = mapped(rootfs, ids=[{"containerID": 0, "hostID": 300_000, "size": 1}])
    for entry in made["mounts"]:
        if entry["type"] == "devpts":
            entry["options"].remove("gid=5")
    assert sh(core, made, rootfs, "stat -c %u:%g /bin/busybox /dev/null; id -u") == [
        "0:0", "0:0", "0",
    ]  # fmt: skip


def test_one_joins_the_user_namespace_of_another(core: Core, rootfs: Path) -> None:
    read_fd, write_fd = os.pipe()
    first = core.start(
        mapped(rootfs, "sh", "-c", "readlink /proc/self/ns/user; read line"),
        overlay={"lower": [str(rootfs)]}, stdin=read_fd,
    )  # fmt: skip
    try:
        pid = first.started()
        made = config(rootfs)
        paths = {"user": "user", "network": "net", "ipc": "ipc", "uts": "uts"}
        made["linux"]["namespaces"] = [{"type": kind} for kind in ("mount", "pid", "cgroup")] + [
            {"type": kind, "path": f"/proc/{pid}/ns/{name}"} for kind, name in paths.items()
        ]
        theirs = {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in paths.values()}
        script = "for n in user net ipc uts; do readlink /proc/self/ns/$n; done; id -u"
        lines = sh(core, made, rootfs, f"{script}; stat -c %u /bin/busybox")
        assert lines == [*(theirs[name] for name in ("user", "net", "ipc", "uts")), "0", "0"]
        other = mapped(rootfs, "true", ids=[{"containerID": 0, "hostID": 5, "size": 9}])
        other["linux"]["namespaces"][-1]["path"] = f"/proc/{pid}/ns/user"
        assert "are not those of the user namespace" in core.run(other).error
    finally:
        os.close(write_fd)
        os.close(read_fd)
        assert first.finish().lines[0] == theirs["user"]


def test_a_file_system_without_idmapped_mounts_is_named(core: Core, rootfs: Path) -> None:
    made = mapped(rootfs, "true")
    made["mounts"].append({"destination": "/v", "source": "/proc", "options": ["rbind", "idmap"]})
    outcome = core.run(made, overlay={"lower": [str(rootfs)]})
    assert "cannot map the owners of '/proc'" in outcome.error


def test_init_reaps_in_it_too(core: Core, rootfs: Path) -> None:
    made = mapped(rootfs, "sh", "-c", "echo $$; exit 7")
    outcome = core.run(made, overlay={"lower": [str(rootfs)]}, init=True)
    assert (outcome.lines, outcome.code) == (["2"], 7)


def test_a_plain_directory_as_root_is_taken_as_it_is(
    core: Core, rootfs: Path, tmp_path: Path
) -> None:
    subprocess.run(["cp", "-a", f"{rootfs}/.", tmp_path], check=True)
    tmp_path.chmod(0o755)
    for path in [tmp_path, *tmp_path.rglob("*")]:
        os.chown(path, FIRST, FIRST, follow_symlinks=False)
    made = mapped(tmp_path, "sh", "-c", "stat -c %u /bin/busybox; touch /x; stat -c %u /x")
    assert core.run(made).lines == ["0", "0"]
    assert (tmp_path / "x").stat().st_uid == FIRST


# -- in a spec ------------------------------------------------------------------------------------


def test_auto_gives_a_project_ids_of_its_own(gocker: Gocker, tmp_path: Path) -> None:
    (tmp_path / "of-the-host").write_text("x")
    tmp_path.chmod(0o755)
    script = """
        cat /proc/self/uid_map; id -u; stat -c %u / /bin/busybox /v/of-the-host /data
        touch /v/made /data/made && cat /proc/sys/net/ipv4/ping_group_range
    """
    result = gocker.up(
        {
            "services": {
                name: {
                    "command": ["sh", "-c", script],
                    "userns_mode": "auto",
                    "volumes": [f"{tmp_path}:/v", f"{name}:/data"],
                }
                for name in ("one", "two")
            },
            "volumes": {"one": {}, "two": {}},
        }
    )
    first = userns.FIRST + userns.SIZE * userns.wanted_range("test")
    for name in ("one", "two"):
        words = result.log(name).split()
        assert words[:3] == ["0", str(first), "65536"]
        assert words[3:] == ["0", "0", "0", "0", "0", "0", "65535"]
        assert (gocker.data / f"volumes/test_{name}/made").stat().st_uid == 0
    assert (tmp_path / "made").stat().st_uid == 0


def test_two_projects_have_different_ids(gocker: Gocker) -> None:
    command = ["sh", "-c", "cat /proc/self/uid_map; read line </fifo"]
    fifo = gocker.root / "fifo"
    os.mkfifo(fifo, 0o644)
    service = {"command": command, "userns_mode": "auto", "volumes": [f"{fifo}:/fifo"]}
    # Projects whose names lead to the same range.
    names = ["p0", next(f"p{n}" for n in range(1, 1 << 20) if _range(f"p{n}") == _range("p0"))]
    first = gocker.start({"name": names[0], "services": {"job": service}})
    try:
        first.wait_for_output("65536")
        again = {**service, "command": ["cat", "/proc/self/uid_map"], "volumes": []}
        second = gocker.up({"name": names[1], "services": {"job": again}})
        assert second.log().split()[1] == str(userns.FIRST + userns.SIZE * (_range("p0") + 1))
    finally:
        fifo.write_text("\n")
        first.finish()


def _range(name: str) -> int:
    return userns.wanted_range(name)


def test_the_project_can_say_it_for_all_and_a_service_otherwise(gocker: Gocker) -> None:
    command = ["cat", "/proc/self/uid_map"]
    result = gocker.up(
        {
            "x-gocker": {"userns": "auto"},
            "services": {
                "all": {"command": command},
                "own": {"command": command, "x-gocker": {"userns": "host"}},
                "key": {"command": command, "userns_mode": "host"},
            },
        }
    )
    assert {name: result.log(name).split()[1] != "0" for name in ("all", "own", "key")} == {
        "all": True, "own": False, "key": False,
    }  # fmt: skip


def test_the_hosts_root_with_hidden_directories(gocker: Gocker) -> None:
    result = gocker.sh("stat -c '%u %a' /root /tmp; id -u", image="host:/", userns_mode="auto")
    assert result.log().splitlines() == ["0 700", "0 1777", "0"]
