from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gocker.errors import HostError, PlanError
from gocker.image.reference import parse
from gocker.image.resolve import resolve
from gocker.state.roots import Roots


def test_host_is_the_hosts_root_with_private_places_hidden(roots: Roots) -> None:
    root = resolve("host:/", roots, "/")
    assert root.lower == ("/",)
    assert {"/root", "/home", "/run", "/tmp"} & set(os.listdir("/")) <= set(root.hidden)
    assert root.env["PATH"].startswith("/usr/local/sbin:")


def test_host_hides_gockers_own_state(roots: Roots) -> None:
    # Directories that every host has, in the place of /var/lib/gocker and /run/gocker.
    roots.data, roots.live = "/usr/lib", "/usr/share/boot"
    assert {"/usr/lib", "/usr/share"} <= set(resolve("host:/", roots, "/").hidden)


def test_nothing_is_hidden_twice(roots: Roots) -> None:
    hidden = resolve("host:/", roots, "/").hidden
    assert not any(a != b and a.startswith(f"{b}/") for a in hidden for b in hidden)


@pytest.mark.parametrize("ref", ["rootfs:tree", "rootfs:./tree", "rootfs:{}/tree", "rootfs:link"])
def test_rootfs_is_a_directory_of_the_project_or_an_absolute_one(
    ref: str, roots: Roots, tmp_path: Path
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "link").symlink_to("tree")
    root = resolve(ref.format(tmp_path), roots, str(tmp_path))
    assert root.lower == (str(tmp_path / "tree"),)
    assert root.hidden == ()


@pytest.mark.parametrize(("name", "what"), [("none", "does not exist"), ("fifo", "not a dir")])
def test_a_rootfs_that_is_no_directory_is_refused(
    name: str, what: str, roots: Roots, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(HostError, match=what):
        resolve(f"rootfs:{name}", roots, str(tmp_path))


def test_an_image_that_is_not_in_the_store_is_missing(roots: Roots, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for ref in ("debian:12", "rootfs:file", "oci:layout"):
        with pytest.raises(HostError, match="is not here") as caught:
            resolve(ref, roots, str(tmp_path))
        assert caught.value.hint == f"gocker pull {ref}"


def test_rootfs_of_the_hosts_root_is_refused(roots: Roots) -> None:
    with pytest.raises(PlanError) as caught:
        resolve("rootfs:/", roots, "/")
    assert caught.value.hint == "use host:/"


def test_bins_in_any_order_are_one_root(make_elf: Any, roots: Roots, tmp_path: Path) -> None:
    a, b = make_elf(tmp_path / "a"), make_elf(tmp_path / "b")
    first = resolve(f"bins:{a},{b}", roots, "/")
    assert first.lower == resolve(f"bins:{b}, {a},{a}", roots, "/").lower
    assert Path(first.lower[0], str(a)[1:]).exists()


@pytest.mark.parametrize(
    "ref", ["Busybox", "a//b", "", "host:", "host:/etc", "a:b c", "../../etc", "-rm"]
)
def test_other_images_are_refused_with_what_there_is(ref: str) -> None:
    with pytest.raises(PlanError) as caught:
        parse(ref)
    assert caught.value.hint is not None
    assert "host:/" in caught.value.hint
    assert "bins:" in caught.value.hint


@pytest.mark.parametrize("ref", ["bins:", "bins:sh,", "rootfs:"])
def test_a_reference_without_its_value_is_refused(ref: str) -> None:
    with pytest.raises(PlanError):
        parse(ref)
