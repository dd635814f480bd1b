"""OCI mounts as the kernel shows them inside: options, propagation, kernel file systems."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.core import Config, Core, Outcome, config

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    with Core() as made:
        yield made


def run(core: Core, rootfs: Path, mounts: list[dict[str, Any]], script: str, **top: Any) -> Outcome:
    made = config(rootfs, "sh", "-c", script)
    made["mounts"] += mounts
    made["linux"] |= top
    return core.run(made, overlay={"lower": [str(rootfs)]})


def options_of(outcome: Outcome, target: str) -> set[str]:
    """Return the options of a mount in the printed mountinfo, and its propagation."""
    lines = [line.split(" ") for line in outcome.lines if line.count(" ") > 6]
    (found,) = [fields for fields in lines if fields[4] == target]
    return {*found[5].split(","), *found[6 : found.index("-")]}


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """Return a directory with a file and a mount below it."""
    top = tmp_path / "tree"
    (top / "below").mkdir(parents=True)
    (top / "file").write_text("of the host\n")
    subprocess.run(["mount", "-t", "tmpfs", "none", top / "below"], check=True)
    try:
        yield top
    finally:
        subprocess.run(["umount", top / "below"], check=True)


@pytest.fixture
def late(tree: Path) -> Iterator[Core]:
    """Return a launcher that knows the tree's mount; this host need not share its mounts."""
    del tree
    with Core() as made:
        yield made


MOUNTINFO = "cat /proc/self/mountinfo"


@pytest.mark.parametrize(
    ("given", "top", "below"),
    [
        (["rbind"], {"rw"}, {"rw"}),
        (["rbind", "ro"], {"ro"}, {"rw"}),
        (["rbind", "rro"], {"ro"}, {"ro"}),
        (["rbind", "rro", "rw"], {"rw"}, {"ro"}),
        (["rbind", "nosuid", "nodev", "noexec"], {"nosuid", "nodev", "noexec"}, set()),
        (["rbind", "rnosuid", "rnodev", "rnoexec"], {"nosuid", "nodev", "noexec"},
         {"nosuid", "nodev", "noexec"}),
        (["rbind", "noatime", "nodiratime"], {"noatime", "nodiratime"}, {"relatime"}),
        (["rbind", "rnoatime"], {"noatime"}, {"noatime"}),
        (["rbind", "noatime", "relatime"], {"relatime"}, {"relatime"}),
        (["rbind", "strictatime"], set(), {"relatime"}),
        (["rbind", "nosymfollow"], {"nosymfollow"}, set()),
    ],
)  # fmt: skip
def test_options_of_a_bind_and_of_what_is_below(
    late: Core, rootfs: Path, tree: Path, given: list[str], top: set[str], below: set[str]
) -> None:
    mounts = [{"destination": "/v", "source": str(tree), "options": given}]
    outcome = run(late, rootfs, mounts, MOUNTINFO)
    words = {"ro", "rw", "nosuid", "nodev", "noexec", "noatime", "relatime", "nodiratime",
             "nosymfollow"}  # fmt: skip
    defaults = {"rw", "relatime"}
    for target, wanted in (("/v", top), ("/v/below", below)):
        found = options_of(outcome, target) & words
        assert found - defaults == wanted - defaults, (target, found)
        assert wanted <= found


def test_read_only_reaches_what_is_mounted_below(late: Core, rootfs: Path, tree: Path) -> None:
    mounts = [{"destination": "/v", "source": str(tree), "options": ["rbind", "rro"]}]
    outcome = run(late, rootfs, mounts, "touch /v/x; touch /v/below/x; echo $?")
    assert outcome.output.count("Read-only file system") == 2


def test_a_bind_without_r_leaves_what_is_below(late: Core, rootfs: Path, tree: Path) -> None:
    mounts = [{"destination": "/v", "source": str(tree), "options": ["bind"]}]
    outcome = run(late, rootfs, mounts, f"{MOUNTINFO} | grep -c ' /v'; cat /v/file")
    assert outcome.lines == ["1", "of the host"]


def test_options_that_a_bind_cannot_have(core: Core, rootfs: Path, tree: Path) -> None:
    mounts = [{"destination": "/v", "source": str(tree), "options": ["bind", "size=5"]}]
    assert "'size=5' has no meaning for a bind mount" in run(core, rootfs, mounts, "true").error


def test_a_file_is_bound_on_a_file_that_is_made(core: Core, rootfs: Path, tree: Path) -> None:
    mounts = [{"destination": "/new/place", "type": "bind", "source": f"{tree}/file",
               "options": ["ro"]}]  # fmt: skip
    outcome = run(core, rootfs, mounts, "cat /new/place; echo x 2>/dev/null >/new/place || echo ro")
    assert outcome.lines == ["of the host", "ro"]


def test_a_source_that_is_missing_is_named(core: Core, rootfs: Path) -> None:
    mounts = [{"destination": "/v", "source": "/nowhere/at/all", "options": ["bind"]}]
    outcome = run(core, rootfs, mounts, "true")
    assert "/nowhere/at/all" in outcome.error


def test_nothing_is_shared_by_default(core: Core, rootfs: Path, tree: Path) -> None:
    mounts = [{"destination": "/v", "source": str(tree), "options": ["rbind"]}]
    outcome = run(core, rootfs, mounts, MOUNTINFO)
    assert "shared:" not in outcome.output
    assert "master:" not in outcome.output


@pytest.mark.parametrize(
    ("word", "sees"), [("rslave", True), ("rshared", True), ("rprivate", False)]
)
def test_propagation_of_a_bind(
    core: Core, rootfs: Path, tmp_path: Path, word: str, sees: bool
) -> None:
    """The host mounts below a shared directory while the container runs."""
    top = tmp_path / "shared"
    top.mkdir()
    subprocess.run(["mount", "--bind", top, top], check=True)
    subprocess.run(["mount", "--make-shared", top], check=True)
    (top / "later").mkdir()
    (top / "other").mkdir()
    try:
        made = config(
            rootfs, "sh", "-c",
            "echo there; read line; ls /v/later; "
            "grep ' /v ' /proc/self/mountinfo | grep -c master:; "
            "mount -t tmpfs own /v/other && echo mounted; read line; :",
        )  # fmt: skip
        for name in ("bounding", "effective", "permitted"):
            made["process"]["capabilities"][name].append("CAP_SYS_ADMIN")
        made["mounts"].append({"destination": "/v", "source": str(top), "options": ["rbind", word]})
        read_fd, write_fd = os.pipe()
        running = core.start(made, overlay={"lower": [str(rootfs)]}, stdin=read_fd)
        os.close(read_fd)
        assert running.read_line() == "there"
        subprocess.run(["mount", "-t", "tmpfs", "none", top / "later"], check=True)
        (top / "later/x").touch()
        os.write(write_fd, b"\n")
        lines = [running.read_line() for _ in range(2 + sees)]
        assert lines == [*(["x"] if sees else []), "1" if word == "rslave" else "0", "mounted"]
        on_the_host = f"{top}/other" in Path("/proc/self/mountinfo").read_text()
        assert on_the_host == (word == "rshared")
        os.close(write_fd)
        running.finish()
    finally:
        subprocess.run(["umount", "-R", top], check=True)


@pytest.mark.parametrize(
    ("word", "shown"),
    [("shared", "shared:"), ("slave", ""), ("private", ""), ("unbindable", "unbindable")],
)
def test_root_propagation(core: Core, rootfs: Path, word: str, shown: str) -> None:
    outcome = run(core, rootfs, [], MOUNTINFO, rootfsPropagation=word)
    found = {option.partition(":")[0] for option in options_of(outcome, "/")}
    assert found & {"shared", "master", "unbindable"} == ({shown.rstrip(":")} if shown else set())


def test_an_unknown_root_propagation_is_refused(core: Core, rootfs: Path) -> None:
    outcome = run(core, rootfs, [], "true", rootfsPropagation="dev")
    assert "linux.rootfsPropagation: unknown value 'dev'" in outcome.error


def test_tmpcopyup_begins_with_what_is_below(core: Core, tmp_path: Path, rootfs: Path) -> None:
    lower = tmp_path / "lower"
    inner = lower / "data/inner"
    inner.mkdir(parents=True)
    (lower / "data").chmod(0o1750)
    (inner / "file").write_text("text")
    os.chown(inner / "file", 12, 34)
    (inner / "file").chmod(0o4711)
    (inner / "link").symlink_to("/etc/passwd")
    os.mkfifo(inner / "fifo", 0o600)
    made = config(rootfs, "sh", "-c", """
        cd /data/inner; stat -c '%n %F %a %u:%g' file link fifo; cat file; echo; readlink link
        stat -c %a /data; stat -f -c %T /data; touch /data/x && echo written
    """)  # fmt: skip
    made["mounts"].append(
        {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}
    )
    outcome = core.run(made, overlay={"lower": [str(lower), str(rootfs)]})
    assert outcome.lines == [
        "file regular file 4711 12:34", "link symbolic link 777 0:0", "fifo fifo 600 0:0", "text",
        "/etc/passwd", "1750", "tmpfs", "written",
    ]  # fmt: skip
    assert not (lower / "data/x").exists()


def test_a_tmpfs_without_a_mode_has_that_of_the_directory(core: Core, rootfs: Path) -> None:
    mounts = [
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k"]},
        {"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["mode=711"]},
    ]
    outcome = run(core, rootfs, mounts, "stat -c %a /tmp /run; df -k /tmp | tail -1")
    assert outcome.lines[:2] == [f"{(rootfs / 'tmp').stat().st_mode & 0o7777:o}", "711"]
    assert outcome.lines[2].split()[1] == "64"


def test_proc_can_hide_the_processes_of_others(core: Core, rootfs: Path) -> None:
    made = config(rootfs, "sh", "-c", "ls -d /proc/1 2>/dev/null || echo hidden",
                  user={"uid": 1000, "gid": 1000}, capabilities={})  # fmt: skip
    made["mounts"][0] = {**made["mounts"][0], "options": ["hidepid=2"]}
    outcome = core.run(made, overlay={"lower": [str(rootfs)]}, init=True)
    assert outcome.lines == ["hidden"]


def test_a_remount_changes_what_is_there(core: Core, rootfs: Path, tree: Path) -> None:
    mounts = [
        {"destination": "/v", "source": str(tree), "options": ["bind"]},
        {"destination": "/v", "options": ["bind", "remount", "ro", "nosuid"]},
    ]
    outcome = run(core, rootfs, mounts, MOUNTINFO)
    assert {"ro", "nosuid"} <= options_of(outcome, "/v")


def test_recursive_options_of_other_mounts(core: Core, rootfs: Path) -> None:
    mounts = [{"destination": "/scratch", "type": "tmpfs", "source": "tmpfs",
               "options": ["rro", "rnodev"]}]  # fmt: skip
    outcome = run(core, rootfs, mounts, MOUNTINFO)
    assert {"ro", "nodev"} <= options_of(outcome, "/scratch")


def test_idmap_without_any_mapping_is_refused(core: Core, rootfs: Path, tree: Path) -> None:
    mounts = [{"destination": "/v", "source": str(tree), "options": ["bind", "idmap"]}]
    assert "idmap needs uidMappings" in run(core, rootfs, mounts, "true").error


def test_idmap_with_a_mapping_of_its_own(core: Core, rootfs: Path, tree: Path) -> None:
    ids = [{"containerID": 0, "hostID": 5000, "size": 10}]
    mounts = [{"destination": "/v", "source": str(tree), "options": ["bind", "idmap"],
               "uidMappings": ids, "gidMappings": ids}]  # fmt: skip
    outcome = run(core, rootfs, mounts, "stat -c %u:%g /v/file")
    assert outcome.lines == ["5000:5000"]


def test_devices_without_a_tmpfs_on_dev(core: Core, rootfs: Path) -> None:
    made = config(rootfs, "sh", "-c", "stat -c '%t:%T' /dev/null /dev/zero; readlink /dev/fd")
    made["mounts"] = [entry for entry in made["mounts"] if entry["destination"] == "/proc"]
    outcome = core.run(made, overlay={"lower": [str(rootfs)]})
    assert outcome.lines == ["1:3", "1:5", "/proc/self/fd"]


def test_a_bound_dev_stays_as_it_is(core: Core, rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "marker").touch()
    made = config(rootfs, "ls", "/dev")
    made["mounts"] = [
        made["mounts"][0],
        {"destination": "/dev", "type": "bind", "source": str(tmp_path), "options": ["bind"]},
    ]
    outcome = core.run(made, overlay={"lower": [str(rootfs)]})
    assert outcome.lines == ["marker"]


@pytest.mark.parametrize(
    ("device", "word"),
    [
        ({"path": "/dev/x", "type": "q", "major": 1, "minor": 3}, "without a number"),
        ({"path": "/dev/x", "type": "c"}, "without a number"),
        ({"path": "/etc/passwd", "type": "c", "major": 1, "minor": 3}, "something else is there"),
    ],
)
def test_devices_that_cannot_be(
    core: Core, rootfs: Path, device: dict[str, Any], word: str
) -> None:
    assert word in run(core, rootfs, [], "true", devices=[device]).error


def test_devices_of_every_kind(core: Core, rootfs: Path) -> None:
    devices = [
        {"path": "/dev/b/lock", "type": "b", "major": 7, "minor": 200, "fileMode": 0o600},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o622, "uid": 3, "gid": 4},
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600},
        {"path": "/opt/zero", "type": "u", "major": 1, "minor": 5},
    ]
    script = "stat -c '%F %a %u:%g %t:%T' /dev/b/lock /dev/pipe /dev/null /opt/zero"
    assert run(core, rootfs, [], script, devices=devices).lines == [
        "block special file 600 0:0 7:c8", "fifo 622 3:4 0:0",
        "character special file 600 0:0 1:3", "character special file 666 0:0 1:5",
    ]  # fmt: skip


def test_namespaces_that_are_inherited(core: Core, rootfs: Path) -> None:
    made: Config = config(rootfs, "sh", "-c", "for n in uts ipc net cgroup user; do "
                          "readlink /proc/self/ns/$n; done")  # fmt: skip
    made["linux"]["namespaces"] = [{"type": "mount"}, {"type": "pid"}]
    made["mounts"] = [entry for entry in made["mounts"] if entry["type"] != "mqueue"]
    outcome = core.run(made, overlay={"lower": [str(rootfs)]})
    names = ("uts", "ipc", "net", "cgroup", "user")
    assert outcome.lines == [os.readlink(f"/proc/self/ns/{name}") for name in names]


def test_a_time_namespace_with_its_clocks(core: Core, rootfs: Path) -> None:
    made = config(rootfs, "sh", "-c", "cat /proc/self/timens_offsets /proc/uptime")
    made["linux"]["namespaces"].append({"type": "time"})
    made["linux"]["timeOffsets"] = {
        "monotonic": {"secs": 1000, "nanosecs": 5}, "boottime": {"secs": 1_000_000},
    }  # fmt: skip
    outcome = core.run(made, overlay={"lower": [str(rootfs)]})
    assert [line.split() for line in outcome.lines[:2]] == [
        ["monotonic", "1000", "5"], ["boottime", "1000000", "0"],
    ]  # fmt: skip
    assert float(outcome.lines[2].split()[0]) > 1_000_000


@pytest.mark.parametrize("vfork", [True, False])
def test_every_namespace_of_another_container_can_be_joined(rootfs: Path, vfork: bool) -> None:
    with Core(vfork=vfork) as core:
        read_fd, write_fd = os.pipe()
        made = config(rootfs, "sh", "-c", "echo up; read line")
        made["linux"]["namespaces"] += [{"type": "time"}]
        first = core.start(made, overlay={"lower": [str(rootfs)]}, stdin=read_fd)
        os.close(read_fd)
        pid = first.started()
        kinds = {"mount": "mnt", "uts": "uts", "ipc": "ipc", "pid": "pid", "network": "net",
                 "cgroup": "cgroup", "time": "time"}  # fmt: skip
        try:
            assert first.read_line() == "up"
            other = config(rootfs, "sh", "-c", f"for n in {' '.join(kinds.values())}; do "
                           "readlink /proc/self/ns/$n; done")  # fmt: skip
            other["linux"]["namespaces"] = [
                {"type": kind, "path": f"/proc/{pid}/ns/{name}"} for kind, name in kinds.items()
            ]
            outcome = core.run(other, overlay={"lower": [str(rootfs)]})
            assert outcome.lines == [
                os.readlink(f"/proc/{pid}/ns/{name}") for name in kinds.values()
            ]
        finally:
            os.close(write_fd)
            first.finish()


@pytest.mark.parametrize(
    ("namespaces", "word"),
    [
        ([{"type": "mount"}, {"type": "mount"}], "'mount' is there twice"),
        ([{"type": "mount"}, {"type": "pidd"}], "unknown type 'pidd'"),
        ([{"type": "mount"}, {"type": "network", "path": "/nowhere"}], "cannot open '/nowhere'"),
        ([{"type": "mount"}, {"type": "network", "path": "/etc/passwd"}], "as the network"),
        ([{"type": "mount"}, {"type": "network", "path": "/proc/self/ns/uts"}], "as the network"),
        ([{"type": "mount"}, {"type": "pid", "path": "/proc/self/ns/uts"}], "as the pid"),
        ([{"type": "mount"}, {"type": "user", "path": "/etc/passwd"}], "as the user"),
        ([{"type": "uts"}], "without 'mount'"),
    ],
)
def test_namespaces_that_cannot_be(
    core: Core, rootfs: Path, namespaces: list[dict[str, str]], word: str
) -> None:
    assert word in run(core, rootfs, [], "true", namespaces=namespaces).error
