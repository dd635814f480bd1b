"""Images from registries, layouts and archives: brought into the store, and run."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import images
from tests.support.command import Gocker
from tests.support.images import archive, member

pytestmark = pytest.mark.root
INSECURE = "--tls-verify=false"
ENTRYPOINT = {
    "Entrypoint": ["/bin/sh", "-c", 'echo "$0 $*"'], "Cmd": ["from", "image"],
    "Env": ["PATH=/bin", "ONE=image", "TWO=image"], "WorkingDir": "/work", "User": "alice",
    "StopSignal": "SIGUSR1", "Volumes": {"/data": {}},
    "Labels": {"com.docker.compose.project": "victim", "plain": "yes"},
}  # fmt: skip


@pytest.fixture
def gocker(gocker: Gocker) -> Iterator[Gocker]:
    with images.host_network(gocker) as made:
        yield made


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a layout with ``box``: busybox, and a layer that changes something."""
    made = images.Layout(tmp_path_factory.mktemp("layout") / "oci")
    second = archive([
        member("etc"), member("etc/added", b"added\n"), member("etc/.wh.group", b""),
        member("data"), member("data/seed", b"seed\n", uid=1234, gid=2345, mode=0o640),
    ])  # fmt: skip
    made.image([images.busybox_layer(), second], ENTRYPOINT, "box")
    made.image([images.busybox_layer()], {"Env": ["PATH=/bin"]}, "plain")
    return made.path


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, layout: Path) -> Iterator[str]:
    with images.registry(tmp_path_factory.mktemp("registry")) as host:
        for tag in ("box", "plain"):
            images.skopeo(
                "copy",
                "--dest-tls-verify=false",
                f"oci:{layout}:{tag}",
                f"docker://{host}/t/{tag}:1",
            )
        yield host


def digest_of(host: str, name: str) -> str:
    found: str = json.loads(
        images.skopeo("inspect", "--tls-verify=false", f"docker://{host}/{name}")
    )["Digest"]
    return found


def test_a_pull_by_tag_and_by_digest_is_what_skopeo_sees(gocker: Gocker, registry: str) -> None:
    digest = digest_of(registry, "t/box:1")
    by_tag = gocker.command("image", "pull", INSECURE, f"{registry}/t/box:1")
    by_digest = gocker.command("image", "pull", INSECURE, f"{registry}/t/box@{digest}")
    assert by_tag.out.split() == by_digest.out.split() == [digest], by_tag
    listed = json.loads(gocker.command("images", "--format", "json").out)["images"]
    assert {image["name"] for image in listed} == {
        f"{registry}/t/box:1", f"{registry}/t/box@{digest}",
    }  # fmt: skip
    assert gocker.command("image", "verify").code == 0


def test_an_index_gives_the_hosts_part_of_it(gocker: Gocker, registry: str, tmp_path: Path) -> None:
    made = images.Layout(tmp_path / "oci")
    wanted = made.image([images.busybox_layer()], {}, "mine")
    index = {"schemaVersion": 2, "mediaType": f"{images.OCI}.index.v1+json", "manifests": [
        {**wanted, "platform": {"os": "linux", "architecture": "s390x"}},
        {**made.image([images.busybox_layer()], {"Env": ["A=1"]}, "other"), "platform": {
            "os": "linux", "architecture": "amd64"}},
        {**made.image([images.busybox_layer()], {"Env": ["A=2"]}, "third"), "platform": {
            "os": "linux", "architecture": "arm64"}},
    ]}  # fmt: skip
    entry = made.document(index, f"{images.OCI}.index.v1+json")
    made.add(entry, "all")
    images.skopeo("copy", "--all", "--dest-tls-verify=false", f"oci:{made.path}:all",
                  f"docker://{registry}/t/all:1")  # fmt: skip
    pulled = gocker.command("image", "pull", INSECURE, f"{registry}/t/all:1")
    assert pulled.code == 0, pulled
    (found,) = json.loads(gocker.command("images", "--format", "json").out)["images"]
    assert found["digest"] == entry["digest"]
    assert found["manifest"] == pulled.out.strip() != entry["digest"]
    refused = gocker.command(
        "image", "pull", INSECURE, "--platform", "linux/mips", f"{registry}/t/all:1"
    )
    assert refused.code == 3
    assert "linux/s390x" in refused.err


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive", "gzipped"])
def test_every_transport_gives_the_same_files(
    transport: str, gocker: Gocker, layout: Path, tmp_path: Path
) -> None:
    path = tmp_path / "image"
    reference = f"oci:{layout}:box"
    if transport != "oci":
        kind = "docker-archive" if transport == "gzipped" else transport
        name = "a/b:1" if kind == "docker-archive" else "box"
        images.skopeo("copy", reference, f"{kind}:{path}:{name}")
        if transport == "gzipped":
            subprocess.run(["gzip", "-1", str(path)], check=True)
            path = Path(f"{path}.gz")
        reference = f"{kind}:{path}"
    run = gocker.job(
        "cat /etc/added; ls /etc; stat -c '%u %a' /data/seed", image=reference,
        entrypoint=["/bin/sh", "-c"],
    )  # fmt: skip
    assert run.log().splitlines() == ["added", "added", "hostname", "hosts", "passwd",
                                      "resolv.conf", "1234 640"], run  # fmt: skip


def test_a_tar_archive_of_a_root_is_an_image(gocker: Gocker, tmp_path: Path) -> None:
    path = tmp_path / "root.tar"
    path.write_bytes(images.busybox_layer())
    run = gocker.job("/bin/sh", "-c", "echo here", image=f"rootfs:{path}")
    assert run.log() == "here\n", run
    path.write_bytes(archive([member("bin"), member("bin/sh", images.BUSYBOX.read_bytes())]))
    run = gocker.job("/bin/sh", "-c", "test ! -e /etc/passwd", image=f"rootfs:{path}")
    assert run.verdict() == "ok", run


def test_the_images_configuration_holds_unless_the_service_says_otherwise(
    gocker: Gocker, layout: Path
) -> None:
    reference = f"oci:{layout}:box"
    assert gocker.up({"services": {"job": {"image": reference}}}).log() == "from image\n"
    assert gocker.job("of", "service", image=reference).log() == "of service\n"
    run = gocker.job(
        image=reference, entrypoint=["/bin/sh", "-c", "echo $0; id -u; pwd; echo $ONE $TWO"],
        environment={"TWO": "service"},
    )  # fmt: skip
    # An entrypoint of the service clears the image's command.
    assert run.log().splitlines() == ["/bin/sh", "1234", "/work", "image service"], run
    run = gocker.job(
        image=reference, entrypoint=["/bin/sh", "-c", "id -u; pwd"], user="0:0", working_dir="/"
    )
    assert run.log().split() == ["0", "/"]


def test_an_image_is_pulled_for_a_run_by_its_policy(gocker: Gocker, registry: str) -> None:
    insecure = {"GOCKER_INSECURE_REGISTRIES": registry}
    spec = {
        "services": {"job": {"image": f"{registry}/t/plain:1", "command": ["sh", "-c", "id -u"]}}
    }
    spec["services"]["job"]["pull_policy"] = "never"
    refused = gocker.up(spec, environ=insecure)
    assert refused.code == 3
    assert "gocker pull" in refused.err
    spec["services"]["job"]["pull_policy"] = "missing"
    assert gocker.up(spec, environ=insecure).log() == "0\n"
    # The second start asks no registry; its plan is the cached one.
    assert gocker.up(spec).log() == "0\n"
    spec["services"]["job"]["pull_policy"] = "always"
    asked = gocker.up(spec)
    assert asked.code == 3, "plain HTTP is taken only where it was asked for"
    assert "registry" in asked.err


def test_an_image_with_more_layers_than_mount_takes(gocker: Gocker, tmp_path: Path) -> None:
    made = images.Layout(tmp_path / "oci")
    layers = [images.busybox_layer()]
    layers += [archive([member("etc"), member(f"etc/f{n}", b"%d" % n)]) for n in range(300)]
    made.image(layers, {}, "many")
    run = gocker.job("/bin/sh", "-c", "ls /etc/f* | wc -l; cat /etc/f299", image=f"oci:{made.path}")
    assert run.log() == "300\n299", run


def test_the_roots_own_mode_is_the_images(gocker: Gocker, tmp_path: Path) -> None:
    made = images.Layout(tmp_path / "oci")
    root = archive([member("./", mode=0o711, uid=5, gid=6)])
    made.image([root, images.busybox_layer()], {}, "root")
    run = gocker.job("/bin/stat", "-c", "%a %u %g", "/", image=f"oci:{made.path}")
    assert run.log() == "711 5 6\n", run


def test_a_layer_that_leaves_out_directories_takes_them_from_below(
    gocker: Gocker, tmp_path: Path
) -> None:
    made = images.Layout(tmp_path / "oci")
    base = archive([
        member("usr"), member("usr/lib", mode=0o751, uid=7),
        member("lib", type=tarfile.SYMTYPE, linkname="usr/lib"),
        member("usr/lib/old", b"old"),
    ])  # fmt: skip
    upper = archive([
        member("lib/new", b"new"),
        member("lib/again", type=tarfile.LNKTYPE, linkname="usr/lib/old"),
    ])  # fmt: skip
    made.image([images.busybox_layer(), base, upper], {}, "sparse")
    run = gocker.job(
        "/bin/sh", "-c",
        "cat /usr/lib/new /usr/lib/again; stat -c ' %a %u' /usr/lib; ls -d /lib/new",
        image=f"oci:{made.path}",
    )  # fmt: skip
    assert run.log() == "newold 751 7\n/lib/new\n", run


def test_the_volumes_of_an_image_begin_with_its_files(gocker: Gocker, layout: Path) -> None:
    reference = f"oci:{layout}:box"
    run = gocker.job(
        image=reference,
        entrypoint=[
            "/bin/sh",
            "-c",
            "stat -c '%u %g %a' /data/seed; grep -c ' /data ' /proc/mounts",
        ],
    )
    assert run.log() == "1234 2345 640\n1\n", run
    named = {
        "services": {"job": {
            "image": reference, "user": "0",
            "entrypoint": ["/bin/sh", "-c", "ls /v; echo x > /v/x"],
            "volumes": ["kept:/v", "kept2:/data"],
        }},
        "volumes": {"kept": {}, "kept2": {}},
    }  # fmt: skip
    assert gocker.up(named).log() == ""
    assert (gocker.data / "volumes/test_kept2/seed").read_bytes() == b"seed\n"
    assert gocker.up(named).log() == "x\n", "a volume that has something keeps what it has"
