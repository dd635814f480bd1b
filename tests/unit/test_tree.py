from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from gocker.state.directory import DIRECTORY
from gocker.tree import remove_tree

ROOT = Path(__file__).parents[2]


def remove(parent: Path, name: str = "tree") -> None:
    fd = os.open(parent, DIRECTORY)
    try:
        remove_tree(fd, name)
    finally:
        os.close(fd)


def test_a_tree_of_everything_is_removed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for path in ("a/b/c", "a/d", "e"):
        (tree / path).mkdir(parents=True)
        (tree / path / "file").write_text("x")
    os.mkfifo(tree / "fifo")
    (tree / "broken").symlink_to("nowhere")
    remove(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "kept")
    remove(tmp_path)
    assert (tmp_path / "kept" / "file").exists()
    assert not (tmp_path / "tree").exists()


def test_a_link_as_the_tree_itself_is_only_unlinked(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "tree").symlink_to("kept")
    remove(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_missing_tree_is_fine(tmp_path: Path) -> None:
    remove(tmp_path)


def test_directories_without_permissions_are_removed(tmp_path: Path) -> None:
    (tmp_path / "tree" / "work" / "work").mkdir(parents=True)
    (tmp_path / "tree" / "work" / "work" / "file").write_text("")
    (tmp_path / "tree" / "work" / "work").chmod(0)
    (tmp_path / "tree" / "work").chmod(0o500)
    remove(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_tree_deeper_than_paths_and_descriptors_allow_is_removed(tmp_path: Path) -> None:
    depth = 2000  # twice the recursion limit; the path would be 6000 bytes, PATH_MAX is 4096
    fd = os.open(tmp_path, DIRECTORY)
    for name in ["tree"] + ["dd"] * depth:
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
    try:
        remove(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert list(tmp_path.iterdir()) == []


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    (tmp_path / "tree" / "a" / "b").mkdir(parents=True)
    before = os.listdir("/proc/self/fd")
    remove(tmp_path)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.root
def test_a_bind_mount_of_the_same_disk_stops_the_removal(tmp_path: Path) -> None:
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "data").write_text("x")
    (tmp_path / "tree" / "a" / "volume").mkdir(parents=True)
    program = f"""
import os
from gocker.errors import HostError
from gocker.tree import remove_tree
try:
    remove_tree(os.open({str(tmp_path)!r}, os.O_RDONLY), "tree")
except HostError as err:
    print(err)
"""
    script = 'mount --bind "$1/user" "$1/tree/a/volume" && exec "$2" -c "$3"'
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", tmp_path, sys.executable, program],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "'tree/a/volume' is a mount point" in result.stdout
    assert (tmp_path / "user" / "data").read_text() == "x"
