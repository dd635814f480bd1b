"""Attacks on the set-up of a container's root, by their numbers in the security catalogue.

Each goes at the runtime core with a configuration of OCI, so that nothing of a spec's own checks
stands before it. Races run for STARTS starts here; GOCKER_ATTACK_STARTS=2000 is the long form.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Gocker
from tests.support.core import Config, Core, Outcome, config
from tests.support.flipper import Flipper

pytestmark = pytest.mark.root

STARTS = int(os.environ.get("GOCKER_ATTACK_STARTS", "15"))
MARKER = "MARKER of the host"


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    with Core() as made:
        yield made


class Host:
    """What an attack is to reach: a directory with a file, watched for every change."""

    def __init__(self, top: Path) -> None:
        self.top = top
        top.mkdir()
        (top / "inner").mkdir()
        (top / "file").write_text(MARKER)
        (top / "inner/file").write_text(MARKER)
        self._before = self._look()

    def _look(self) -> dict[str, tuple[int, int, bytes]]:
        found = {}
        for path in [self.top, *sorted(self.top.rglob("*"))]:
            info = path.lstat()
            text = path.read_bytes() if stat.S_ISREG(info.st_mode) else b""
            found[str(path)] = (info.st_mode, info.st_ino, text)
        return found

    def check(self) -> None:
        assert self._look() == self._before
        mounts = Path("/proc/self/mountinfo").read_text()
        assert str(self.top) not in mounts


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "host")
    yield made
    made.check()


@pytest.fixture
def image(tmp_path: Path, rootfs: Path) -> Path:
    """Return a root file system of the attacker's own, without /proc, /sys and /dev."""
    top = tmp_path / "image"
    subprocess.run(["cp", "-a", f"{rootfs}/.", f"{top}/"], check=True)
    for name in ("proc", "sys", "dev"):
        (top / name).rmdir()
    return top


def start(core: Core, made: Config, image: Path) -> Outcome:
    """Run with the image both ways: below an overlay, and as it is."""
    plain = core.run({**made, "root": {"path": str(image)}})
    layered = core.run(made, overlay={"lower": [str(image)]})
    assert {event["event"] for event in plain.events} == {
        event["event"] for event in layered.events
    }
    return layered


def volume(source: Path, target: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "source": str(source), "options": ["rbind", *options]}


# -- B1: procfs and sysfs that are not -----------------------------------------------------------


@pytest.mark.parametrize("name", ["proc", "sys", "sys/fs/cgroup"])
@pytest.mark.parametrize("kind", ["absolute", "relative", "file"])
def test_b1_a_link_in_place_of_a_kernel_file_system(
    core: Core, image: Path, host: Host, name: str, kind: str
) -> None:
    place = image / name
    if name == "sys/fs/cgroup":
        (image / "sys/fs").mkdir(parents=True)
    if kind == "file":
        place.write_text("")
    else:
        place.symlink_to(host.top if kind == "absolute" else "tmp")
    made = config(image, "true")
    if name == "sys/fs/cgroup":
        made["mounts"] = [e for e in made["mounts"] if e["type"] != "sysfs"]
    assert "is not a plain directory" in start(core, made, image).error


@pytest.mark.parametrize("target", ["/proc", "/proc/self", "/proc/sys", "/./proc//self", "/lnk"])
def test_b1_a_volume_over_procfs(core: Core, image: Path, host: Host, target: str) -> None:
    for name in ("proc", "sys", "dev"):
        (image / name).mkdir()
    (image / "lnk").symlink_to("/proc/self")
    made = config(image, "true")
    made["mounts"].append(volume(host.top, target))
    assert "is procfs" in start(core, made, image).error


def test_b1_what_lxcfs_offers_may_be_mounted(core: Core, rootfs: Path, host: Host) -> None:
    made = config(rootfs, "cat", "/proc/uptime")
    made["mounts"].append(
        {"destination": "/proc/uptime", "source": str(host.top / "file"), "options": ["bind"]}
    )
    assert core.run(made, overlay={"lower": [str(rootfs)]}).output == MARKER


def test_b1_settings_are_not_written_to_a_false_procfs(core: Core, image: Path, host: Host) -> None:
    """Without a mount on /proc the image's own files are there; none is written."""
    false = image / "proc/sys/net/ipv4"
    false.mkdir(parents=True)
    (false / "ip_unprivileged_port_start").write_text("untouched")
    (image / "proc/keys").symlink_to(host.top / "file")
    made = config(image, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start")
    made["mounts"] = []
    made["linux"] |= {
        "sysctl": {"net.ipv4.ip_unprivileged_port_start": "7"},
        "maskedPaths": ["/proc/keys"], "readonlyPaths": ["/proc/sys"],
    }  # fmt: skip
    assert core.run(made, overlay={"lower": [str(image)]}).output == "untouched"


# -- B2, B7, B8: targets -------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_b2_b7_a_target_that_changes_into_a_link(
    core: Core, rootfs: Path, tmp_path: Path, host: Host, depth: int
) -> None:
    """Another container shares the volume and swaps a component for a link to the host."""
    shared = tmp_path / "shared"
    (shared / "d").mkdir(parents=True)
    (shared / "link").symlink_to(host.top)
    made = config(rootfs, "true")
    names = ["inner", "made", "deep"][:depth]
    made["mounts"] += [
        volume(shared, "/v"),
        {"destination": "/".join(["/v/d", *names]), "type": "tmpfs", "source": "tmpfs"},
    ]
    fate = {"exited": 0, "failed": 0}
    with Flipper(shared / "d", shared / "link") as flipper:
        for _ in range(STARTS):
            last = core.run(made, overlay={"lower": [str(rootfs)]}).events[-1]
            fate[last["event"]] += 1
    assert flipper.flips > STARTS
    assert sum(fate.values()) == STARTS


def test_b2_a_file_that_changes_into_a_link(
    core: Core, rootfs: Path, tmp_path: Path, host: Host
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "f").touch()
    (shared / "link").symlink_to(host.top / "new")
    made = config(rootfs, "true")
    made["mounts"] += [volume(shared, "/v"), {**volume(host.top / "file", "/v/f"), "type": "bind"}]
    with Flipper(shared / "f", shared / "link") as flipper:
        for _ in range(STARTS):
            core.run(made, overlay={"lower": [str(rootfs)]})
    assert flipper.flips > STARTS


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("{host}", "/lnk/made"), ("{host}", "/lnk"), ("../../../../../{host}", "/lnk/made"),
        ("/proc/self/root/{host}", "/lnk/made"), ("..", "/lnk/lnk/lnk/made"),
    ],
)  # fmt: skip
def test_b8_links_of_the_image_on_the_way(
    core: Core, image: Path, host: Host, link: str, target: str
) -> None:
    (image / "lnk").symlink_to(link.format(host=host.top))
    made = config(image, "sh", "-c", f"touch {target}/x && echo inside")
    made["mounts"].append({"destination": target, "type": "tmpfs", "source": "tmpfs"})
    outcome = core.run(made, overlay={"lower": [str(image)]})
    assert outcome.lines == ["inside"] or outcome.events[-1]["event"] == "failed"


@pytest.mark.parametrize("link", ["lnk", "/lnk", "./other/../lnk"])
def test_b8_a_loop_of_links_ends(core: Core, image: Path, link: str) -> None:
    (image / "lnk").symlink_to(link)
    made = config(image, "true")
    made["mounts"].append({"destination": "/lnk/x", "type": "tmpfs", "source": "tmpfs"})
    assert core.run(made, overlay={"lower": [str(image)]}).events[-1]["event"] == "failed"


def test_b8_a_path_of_300_components(core: Core, rootfs: Path) -> None:
    target = "/deep" + "/x" * 300
    made = config(rootfs, "sh", "-c", f"touch {target}/made && echo inside")
    made["mounts"].append({"destination": target, "type": "tmpfs", "source": "tmpfs"})
    assert core.run(made, overlay={"lower": [str(rootfs)]}).lines == ["inside"]


# -- B3: masks -----------------------------------------------------------------------------------


def test_b3_masks_do_not_come_from_the_image(core: Core, image: Path, host: Host) -> None:
    """/dev/null of the image is a link to what the attacker wants to read through the mask."""
    (image / "proc").mkdir()
    (image / "dev").mkdir()
    (image / "dev/null").symlink_to(host.top / "file")
    (image / "secret").write_text("secret")
    made = config(image, "sh", "-c", "cat /secret /proc/keys; echo end")
    made["mounts"] = [e for e in made["mounts"] if e["destination"] == "/proc"]
    made["linux"]["maskedPaths"] = ["/secret", "/proc/keys"]
    outcome = core.run(made, overlay={"lower": [str(image)]})
    assert "something else is there" in outcome.error  # /dev/null is no device
    made["mounts"].append(
        {"destination": "/dev", "type": "bind", "source": str(image / "dev"), "options": ["bind"]}
    )
    assert core.run(made, overlay={"lower": [str(image)]}).lines == ["end"]


def test_b3_a_mask_is_read_only_and_cannot_be_removed(core: Core, rootfs: Path) -> None:
    made = config(rootfs, "sh", "-c", """
        umount /proc/keys 2>/dev/null || echo kept; echo x 2>/dev/null >/proc/keys || echo refused
        wc -c </proc/keys
    """)  # fmt: skip
    made["linux"]["maskedPaths"] = ["/proc/keys"]
    outcome = core.run(made, overlay={"lower": [str(rootfs)]})
    assert outcome.lines == ["kept", "refused", "0"]


# -- B5: writes to procfs ------------------------------------------------------------------------


def test_b5_sysctls_reach_nothing_but_procfs(
    core: Core, rootfs: Path, tmp_path: Path, host: Host
) -> None:
    """A volume whose content changes lies where a path below /proc/sys would lead."""
    shared = tmp_path / "shared"
    for name in ("a", "b"):
        (shared / name / "net/ipv4").mkdir(parents=True)
        (shared / name / "net/ipv4/ip_unprivileged_port_start").write_text("untouched")
    made = config(rootfs, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start")
    made["mounts"].append(volume(shared, "/v"))
    made["linux"]["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "7"}
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    with Flipper(shared / "a", shared / "b"):
        for _ in range(STARTS):
            assert core.run(made, overlay={"lower": [str(rootfs)]}).lines == ["7"]
    for name in ("a", "b"):
        text = (shared / name / "net/ipv4/ip_unprivileged_port_start").read_text()
        assert text == "untouched"
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern


# -- B6: /dev ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mounted", [True, False])
def test_b6_dev_is_a_link(core: Core, image: Path, host: Host, mounted: bool) -> None:
    (image / "proc").mkdir()
    (image / "dev").symlink_to(host.top)
    made = config(image, "true")
    if not mounted:
        made["mounts"] = [e for e in made["mounts"] if not e["destination"].startswith("/dev")]
    assert "is not a plain directory" in start(core, made, image).error


# -- B9: sources ---------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["/", "/etc", "../../../../../../etc"])
def test_b9_a_subpath_does_not_leave_its_volume(gocker: Gocker, link: str) -> None:
    """First a run makes the volume, then a link is put where the subpath leads."""
    spec: dict[str, Any] = {"services": {"job": {"command": ["true"], "volumes": ["v:/v"]}},
                            "volumes": {"v": {}}}  # fmt: skip
    assert gocker.up(spec).code == 0
    (gocker.data / "volumes/test_v/x").symlink_to(link)
    mount = {"type": "volume", "source": "v", "target": "/sub", "volume": {"subpath": "x"}}
    spec["services"]["job"] = {
        "command": ["sh", "-c", "ls /sub; cat /sub/hostname /sub/etc/hostname; true"],
        "volumes": [mount],
    }
    result = gocker.up(spec)
    assert Path("/etc/hostname").read_text().strip() not in result.log()
    assert "passwd" not in result.log()


def test_b9_a_subpath_that_changes_into_a_link(gocker: Gocker) -> None:
    spec: dict[str, Any] = {"services": {"job": {"command": ["true"], "volumes": ["v:/v"]}},
                            "volumes": {"v": {}}}  # fmt: skip
    assert gocker.up(spec).code == 0
    top = gocker.data / "volumes/test_v"
    (top / "x").mkdir()
    (top / "link").symlink_to("/etc")
    spec["services"] = {
        f"job{number}": {
            "command": ["ls", "/sub"],
            "volumes": [{"type": "volume", "source": "v", "target": "/sub",
                         "volume": {"subpath": "x"}}],
        } for number in range(STARTS)
    }  # fmt: skip
    with Flipper(top / "x", top / "link") as flipper:
        result = gocker.up(spec)
    assert flipper.flips > STARTS
    assert [name for name in spec["services"] if "passwd" in result.log(name)] == []


# -- B11, B13: propagation and read-only ---------------------------------------------------------


def test_b11_propagation_words_are_a_closed_list(core: Core, rootfs: Path, host: Host) -> None:
    made = config(rootfs, "true")
    made["mounts"].append(volume(host.top, "/v", "rshared,dev"))
    assert "'rshared,dev' has no meaning" in core.run(made).error


def test_b13_read_only_with_a_writable_mount_below(gocker: Gocker, tmp_path: Path) -> None:
    top = tmp_path / "v"
    (top / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", top / "below"], check=True)
    try:
        result = gocker.sh(
            "touch /v/x /v/below/x; touch /x; touch /dev/shm/x /tmp/x && echo declared",
            volumes=[f"{top}:/v:ro"], read_only=True, tmpfs=["/tmp"],
        )  # fmt: skip
        assert result.log().count("Read-only file system") == 3
        assert result.log().endswith("declared\n")
    finally:
        subprocess.run(["umount", top / "below"], check=True)


# -- B12: options --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a,b", "a:b", "a\\b", "a\nb", "upperdir=/etc", "x,upperdir=/etc"])
def test_b12_names_that_look_like_options(
    core: Core, rootfs: Path, tmp_path: Path, name: str
) -> None:
    lower = tmp_path / name.replace("/", "_")
    subprocess.run(["cp", "-a", rootfs, lower], check=True)
    before = sorted(os.listdir("/etc"))
    made = config(lower, "sh", "-c", "touch /etc/made && echo made")
    assert core.run(made, overlay={"lower": [str(lower)]}).lines == ["made"]
    assert sorted(os.listdir("/etc")) == before


# -- B15, B16: cgroups and devices ---------------------------------------------------------------


def test_b15_no_control_file_opens_for_writing(gocker: Gocker) -> None:
    script = """
        find /sys/fs/cgroup -type f | while read file; do
            ( : >>"$file" ) 2>/dev/null && echo "open $file"
        done
        mkdir /sys/fs/cgroup/*/x 2>/dev/null && echo made
        unshare -UrC true 2>/dev/null && echo unshared
        mount -t cgroup -o memory none /tmp 2>/dev/null && echo mounted
        find /sys/fs/cgroup -type f | wc -l
    """
    result = gocker.sh(script, cap_add=["DAC_OVERRIDE"], mem_limit="64m")
    assert [line for line in result.log().splitlines() if not line.isdigit()] == []
    assert int(result.log().split()[-1]) > 10


def test_b16_no_device_opens_but_the_declared_ones(core: Core, rootfs: Path) -> None:
    made = config(rootfs, "sh", "-c", """
        cd /dev
        for node in "c 10 200" "c 1 1" "c 1 11" "b 254 0" "b 7 0" "c 5 1" "c 1 3"; do
            mknod x $node 2>/dev/null || { echo "no mknod $node"; continue; }
            ( : <x ) 2>/dev/null && echo "open $node"; rm x
        done
        mknod /tmp/x c 1 3 2>/dev/null; ( : </tmp/x ) 2>/dev/null && echo open in tmp
        echo end
    """)  # fmt: skip
    for name in ("bounding", "effective", "permitted"):
        made["process"]["capabilities"][name].append("CAP_MKNOD")
    found = set(core.run(made, overlay={"lower": [str(rootfs)]}).lines)
    assert found <= {"open c 1 3", "open c 5 1", "end"} | {
        f"no mknod {node}" for node in ("c 10 200", "c 1 1", "c 1 11", "b 254 0", "b 7 0", "c 5 1")
    }
    assert {"open c 1 3", "end"} <= found


def test_b16_a_node_in_a_layer_does_not_open(core: Core, tmp_path: Path, rootfs: Path) -> None:
    layer = tmp_path / "layer"
    layer.mkdir()
    os.mknod(layer / "disk", stat.S_IFBLK | 0o666, os.makedev(7, 0))
    os.mknod(layer / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    made = config(rootfs, "sh", "-c", "cat /disk; cat </null; :")
    outcome = core.run(made, overlay={"lower": [str(layer), str(rootfs)]})
    assert (
        outcome.output.count("Operation not permitted") + outcome.output.count("Permission denied")
        == 2
    )
