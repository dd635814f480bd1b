from __future__ import annotations

import os
from errno import ENOTSUP
from pathlib import Path

import pytest

from gocker.runtime.composed import Composition
from gocker.runtime.layers import Layers
from gocker.runtime.rootless import mapping, subordinate


@pytest.mark.parametrize(("text", "expected"), [
    ("anna:100000:65536\n", [(100_000, 65536)]),
    ("1000:5:7\nanna:100000:65536\nbert:1:1\n", [(5, 7), (100_000, 65536)]),
    ("anna:100000\nanna:x:1\nanna:1:0\n\n# anna:1:1\n", []),
])  # fmt: skip
def test_ranges_are_found_by_name_and_by_number(
    tmp_path: Path, text: str, expected: list[tuple[int, int]]
) -> None:
    (tmp_path / "subuid").write_text(text)
    assert subordinate(str(tmp_path / "subuid"), "anna", 1000) == expected


def test_without_the_file_there_are_none(tmp_path: Path) -> None:
    assert subordinate(str(tmp_path / "subuid"), "anna", 1000) == []


def test_a_mapping_has_the_user_first_and_no_gap() -> None:
    words = mapping(1000, [(5, 7), (100_000, 65536)])
    assert words == ["0", "1000", "1", "1", "5", "7", "8", "100000", "65536"]


def test_what_hides_is_on_the_disk_where_a_tmpfs_has_no_attributes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = Layers(str(tmp_path / "data"), "run-0", str(tmp_path / "scratch"))
    (tmp_path / "data").mkdir()

    def setxattr(path: str, *_: object) -> None:
        if "scratch" in path:
            raise OSError(ENOTSUP, "no attributes")

    monkeypatch.setattr(os, "setxattr", setxattr)
    (path,) = layers._hide((("/home/x", 0o755),), (os.geteuid(), os.getegid()))
    assert path == str(tmp_path / "data/run-0-H0")
    assert os.path.isdir(f"{path}/home/x")
    layers.close()
    assert os.listdir(tmp_path / "data") == []


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    top = tmp_path / "lower"
    for name in ("etc/apt", "usr/bin", "var/lib/mounted", "var/log", "home/x", "empty"):
        (top / name).mkdir(parents=True)
    for name in ("etc/apt/list", "usr/bin/sh", "var/log/a", "var/readable", "swap"):
        (top / name).write_text(name)
    (top / "bin").symlink_to("usr/bin")
    return top


def test_a_directory_without_mounts_below_has_an_overlay_of_its_own(
    tmp_path: Path, lower: Path
) -> None:
    mounts = [f"{lower}/var/lib/mounted", "/elsewhere"]
    made = Composition(str(lower), [("/home", 0o755)], mounts, str(tmp_path / "skeleton"))
    assert sorted(made.overlays) == ["etc", "usr", "var/log"]
    skeleton = tmp_path / "skeleton"
    assert os.readlink(skeleton / "bin") == "usr/bin"
    assert (skeleton / "var/readable").read_text() == "var/readable"
    assert os.listdir(skeleton / "var/lib/mounted") == []
    assert os.listdir(skeleton / "usr") == []
    assert (skeleton / "empty").is_dir()
    assert not (skeleton / "home").exists()  # the layer that hides it has it


def test_what_was_written_is_put_together(tmp_path: Path, lower: Path) -> None:
    mounts = [f"{lower}/var/lib/mounted"]
    made = Composition(str(lower), [], mounts, str(tmp_path / "skeleton"))
    layer = tmp_path / "layer"
    for number in range(len(made.overlays)):
        (layer / f"parts/{number}/upper").mkdir(parents=True)
    (layer / "upper").mkdir()
    (layer / "upper/new").write_text("new")
    number = made.overlays.index("var/log")
    (layer / f"parts/{number}/upper/b").write_text("b")
    made.gather(str(layer))
    files = sorted(str(path.relative_to(layer / "upper"))
                   for path in (layer / "upper").rglob("*") if path.is_file())  # fmt: skip
    assert files == ["new", "var/log/b"]
