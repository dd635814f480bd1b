"""The store: what is verified, survives faults, is removed (security.md B10, C6 to C9, R8)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.command import Gocker, Result
from tests.support.images import Layout, archive, member, sha256

pytestmark = pytest.mark.root


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "oci")
    made.image([images.busybox_layer(), archive([member("two", b"2")])], {"Env": ["PATH=/bin"]})
    return made


def pull(gocker: Gocker, layout: Layout, **how: Any) -> Result:
    return gocker.command("image", "pull", "-q", f"oci:{layout.path}", **how)


def verifies(gocker: Gocker) -> bool:
    return gocker.command("image", "verify").code == 0


def manifest_of(layout: Layout) -> dict[str, Any]:
    index = json.loads((layout.path / "index.json").read_text())
    digest = index["manifests"][0]["digest"]
    found: dict[str, Any] = json.loads(blob(layout, digest).read_text())
    return found


def blob(layout: Layout, digest: str) -> Path:
    return layout.path / "blobs/sha256" / digest.removeprefix("sha256:")


# -- C6: content addressing --------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("part", "damage"),
    [("manifest", "flipped"), ("config", "cut"), ("layer 1", "flipped"), ("layer 2", "cut")],
)
def test_a_damaged_blob_is_refused_and_a_sound_one_taken_later(
    part: str, damage: str, gocker: Gocker, layout: Layout, tmp_path: Path
) -> None:
    good = tmp_path / "good"
    shutil.copytree(layout.path, good)
    manifest = manifest_of(layout)
    index = json.loads((layout.path / "index.json").read_text())
    digest = {
        "manifest": index["manifests"][0]["digest"], "config": manifest["config"]["digest"],
        "layer 1": manifest["layers"][0]["digest"], "layer 2": manifest["layers"][1]["digest"],
    }[part]  # fmt: skip
    path = blob(layout, digest)
    if damage == "flipped":
        flip(path)
    else:
        os.truncate(path, path.stat().st_size - 5)
    refused = pull(gocker, layout)
    assert refused.code == 3, refused
    assert json.loads(gocker.command("images", "--format", "json").out)["images"] == []
    assert verifies(gocker)
    assert gocker.command("image", "pull", "-q", f"oci:{good}").code == 0
    assert verifies(gocker)


def swapped(manifest: dict[str, Any]) -> None:
    manifest["layers"].reverse()


def of_path(manifest: dict[str, Any]) -> None:
    manifest["layers"][0]["digest"] = "sha256:../../../../etc/passwd"


def both(manifest: dict[str, Any]) -> None:
    manifest["manifests"] = []


def other_kind(manifest: dict[str, Any]) -> None:
    manifest["mediaType"] = f"{images.OCI}.index.v1+json"


def negative(manifest: dict[str, Any]) -> None:
    manifest["layers"][0]["size"] = -1


def no_image(manifest: dict[str, Any]) -> None:
    manifest["config"]["mediaType"] = "application/vnd.example.chart+json"


@pytest.mark.parametrize("change", [swapped, of_path, both, other_kind, negative, no_image])
def test_a_manifest_that_is_not_sound_is_refused(
    change: Callable[[dict[str, Any]], None], gocker: Gocker, tmp_path: Path
) -> None:
    made = Layout(tmp_path / "oci")
    made.image([images.busybox_layer(), archive([member("two", b"2")])], {}, change=change)
    refused = pull(gocker, made)
    assert refused.code == 3, refused
    assert json.loads(gocker.command("images", "--format", "json").out)["images"] == []
    assert list((gocker.data / "images/refs").iterdir()) == []


def test_a_key_that_is_there_twice_is_refused(gocker: Gocker, tmp_path: Path) -> None:
    made = Layout(tmp_path / "oci")
    made.image([images.busybox_layer()], {})
    text = json.dumps(manifest_of(made))
    twice = text.replace('{"schemaVersion"', '{"config": {}, "schemaVersion"', 1).encode()
    made = Layout(tmp_path / "twice")
    shutil.copytree(tmp_path / "oci/blobs", made.path / "blobs", dirs_exist_ok=True)
    made.add(made.blob(twice, f"{images.OCI}.manifest.v1+json"), "latest")
    refused = pull(gocker, made)
    assert refused.code == 3
    assert "twice" in refused.err


def test_damage_in_the_store_is_found(gocker: Gocker, layout: Layout) -> None:
    assert pull(gocker, layout).code == 0
    layer = manifest_of(layout)["layers"][1]["digest"]
    path = gocker.data / "images/blobs/sha256" / layer[7:]
    path.chmod(0o600)
    flip(path)
    found = gocker.command("image", "verify", "--drop-caches")
    assert found.code == 3
    assert layer in found.out


# -- C7: the configuration is input ------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        {"Env": ["A\nB=1"]}, {"Env": ["=x"]}, {"Env": ["A"]}, {"Env": [f"A={'x' * (2 << 20)}"]},
        {"Env": "A=1"}, {"StopSignal": "99"}, {"StopSignal": "-1"}, {"StopSignal": "RTMIN+40"},
        {"StopSignal": "KILL;rm"}, {"WorkingDir": "/proc/self/fd/9"}, {"WorkingDir": "/a/../.."},
        {"User": "a\nb"}, {"Cmd": "sh"}, {"Cmd": ["a\0b"]}, {"Entrypoint": [1]},
        {"Healthcheck": {"Test": ["RUN", "x"]}}, {"Healthcheck": {"Interval": -5}},
        {"Volumes": {"/": {}}}, {"Volumes": ["/x"]},
    ],
    ids=lambda config: str(config)[:30],
)  # fmt: skip
def test_what_no_container_could_have_is_refused(
    config: dict[str, Any], gocker: Gocker, tmp_path: Path
) -> None:
    made = Layout(tmp_path / "oci")
    made.image([images.busybox_layer()], config)
    refused = gocker.job("true", image=f"oci:{made.path}")
    assert refused.code in (2, 3), refused
    assert refused.err
    assert not refused.events("container.started")


def test_a_label_of_an_image_makes_it_nobodys(gocker: Gocker, tmp_path: Path) -> None:
    made = Layout(tmp_path / "oci")
    labels = {"com.docker.compose.project": "victim", "io.gocker.project": "victim", "own": "1"}
    made.image([images.busybox_layer()], {"Labels": labels})
    assert gocker.job("/bin/true", image=f"oci:{made.path}").verdict() == "ok"
    (record,) = (gocker.data / "images/unpacked").iterdir()
    assert json.loads(record.read_text())["config"]["labels"] == {"own": "1"}
    gocker.command("down", "-p", "victim")
    assert gocker.runs(), "the run of another project is still there"
    assert gocker.command("images", "-q").out.strip()


# -- C8: names ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../etc", "-rm", "a\nb"])
def test_a_name_that_is_none_is_refused(name: str, gocker: Gocker) -> None:
    refused = gocker.command("image", "pull", "--", name)
    assert refused.code == 2, refused
    refused = gocker.command("image", "tag", "--", "a:1", name)
    assert refused.code in (2, 3)
    top = gocker.data / "images"
    assert not top.exists() or list((top / "refs").iterdir()) == []


# -- C9 and R8: side by side, killed, and full -------------------------------------------------


def test_many_pulls_of_one_image_make_it_once(gocker: Gocker, layout: Layout) -> None:
    running = [gocker.popen("image", "pull", "-q", f"oci:{layout.path}") for _ in range(8)]
    codes = [process.wait() for process in running if process.communicate() is not None]
    assert codes == [0] * 8
    assert verifies(gocker)
    assert len(list((gocker.data / "images/layers").iterdir())) == 2
    assert list((gocker.data / "images/partial").iterdir()) == []


def test_a_full_disk_leaves_a_store_that_goes_on(gocker: Gocker, tmp_path: Path) -> None:
    made = Layout(tmp_path / "oci")
    noise = os.urandom(6 << 20)
    made.image([images.busybox_layer(), archive([member("noise", noise)])], {})
    script = """
        set -e
        mount -t tmpfs -o size=14m tmpfs "$1"
        export GOCKER_DATA_ROOT="$1/data"
        mkdir -m 700 "$1/data"
        dd if=/dev/zero of="$1/ballast" bs=1M count=$2 2>/dev/null
        if "$3" -m gocker image pull -q "oci:$4" 2>"$1/../err"; then exit 9; fi
        cat "$1/../err" >&2
        "$3" -m gocker image verify
        rm "$1/ballast"
        mount -o remount,size=64m "$1"
        "$3" -m gocker image pull -q "oci:$4"
        "$3" -m gocker image verify
        "$3" -m gocker image prune >&2
        ls "$1/data/images/partial"
    """
    for ballast in (12, 10, 7, 4):
        mountpoint = tmp_path / f"disk{ballast}"
        mountpoint.mkdir()
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", script, "sh", str(mountpoint), str(ballast),
             sys.executable, str(made.path)],
            capture_output=True, text=True, env=gocker.environ,
        )  # fmt: skip
        assert done.returncode == 0, (ballast, done)
        assert "No space left" in done.stderr
        assert done.stdout.splitlines() == [sha256(blob_of(made))], done


def blob_of(layout: Layout) -> bytes:
    index = json.loads((layout.path / "index.json").read_text())
    return blob(layout, index["manifests"][0]["digest"]).read_bytes()


def test_gc_removes_what_a_killed_pull_left(gocker: Gocker, layout: Layout) -> None:
    killed = pull(gocker, layout, environ={"GOCKER_FAILPOINTS": "image.publish=kill"})
    assert killed.code != 0
    partial = gocker.data / "images/partial"
    assert os.listdir(partial) != []
    told = gocker.command("gc", "--dry-run")
    assert os.listdir(partial) != []
    assert "unfinished part of an image" in told.out + told.err
    assert gocker.command("gc").code == 0
    assert os.listdir(partial) == []
    assert pull(gocker, layout).code == 0


def test_prune_removes_what_nothing_needs_and_nothing_else(
    gocker: Gocker, layout: Layout, tmp_path: Path
) -> None:
    assert pull(gocker, layout).code == 0
    other = Layout(tmp_path / "other")
    other.image([images.busybox_layer()], {"Env": ["B=2"]})
    assert pull(gocker, other).code == 0
    removed = json.loads(
        gocker.command("image", "rm", "--format", "json", f"oci:{layout.path}").out
    )
    # The layer that both have stays.
    assert len(removed["layers"]) == 1
    assert verifies(gocker)
    assert gocker.job("/bin/true", image=f"oci:{other.path}").verdict() == "ok"
    assert gocker.command("image", "prune", "--all").code == 0
    top = gocker.data / "images"
    left = [path for path in top.rglob("*") if path.is_file()]
    assert [path.name for path in left] == ["lock"]


def test_an_image_in_use_outlives_its_name(gocker: Gocker, layout: Layout) -> None:
    spec = {"services": {"job": {
        "image": f"oci:{layout.path}",
        "command": ["/bin/sh", "-c",
                    "echo up; while [ ! -e /tmp/go ]; do sleep 0.05; done; cat /two"],
        "volumes": [f"{gocker.root}/shared:/tmp"],
    }}}  # fmt: skip
    running = gocker.start(spec)
    running.wait_for_output("up")
    assert gocker.command("image", "prune", "--all").code == 0
    (gocker.root / "shared/go").touch()
    run = running.finish()
    assert run.log() == "up\n2", run
    assert gocker.command("image", "prune").code == 0
    assert list((gocker.data / "images/layers").iterdir()) == []


# -- B10: volumes ------------------------------------------------------------------------------


def test_a_volume_never_gets_what_is_the_hosts(gocker: Gocker, tmp_path: Path) -> None:
    made = Layout(tmp_path / "oci")
    layer = archive([
        member("real"), member("real/inside", b"image"),
        member("real/out", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("to-root", type=tarfile.SYMTYPE, linkname="/"),
        member("to-host", type=tarfile.SYMTYPE, linkname="../../../../../../etc"),
    ])  # fmt: skip
    volumes = {"/../../../../etc": {}, "/to-root": {}, "/to-host": {}, "/real/../real": {}}
    made.image([images.busybox_layer(), layer], {"Volumes": volumes})
    host = Path("/etc/passwd").read_text()
    run = gocker.job(
        "/bin/sh", "-c", "cat /real/inside; readlink /real/out; cat /etc/passwd; ls -A /to-root",
        image=f"oci:{made.path}",
    )  # fmt: skip
    assert run.verdict() == "ok", run
    assert run.log().startswith("image/etc/passwd\nroot:x:0:0::/root:/bin/sh\n")
    assert host not in run.log()


def test_a_volume_with_content_is_left_as_it_is(gocker: Gocker, tmp_path: Path) -> None:
    made = Layout(tmp_path / "oci")
    layer = archive([member("data"), member("data/file", b"image"), member("data/new", b"n")])
    made.image([images.busybox_layer(), layer], {})
    spec = {
        "services": {"job": {"image": f"oci:{made.path}", "command": ["/bin/true"],
                             "volumes": ["kept:/data"]}},
        "volumes": {"kept": {}},
    }  # fmt: skip
    assert gocker.up(spec).code == 0
    volume = gocker.data / "volumes/test_kept"
    assert sorted(os.listdir(volume)) == ["file", "new"]
    (volume / "file").unlink()
    (volume / "file").symlink_to("/etc/passwd")
    (volume / "new").unlink()
    assert gocker.up(spec).code == 0
    assert sorted(os.listdir(volume)) == ["file"]
    assert os.readlink(volume / "file") == "/etc/passwd"
