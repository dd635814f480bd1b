from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gocker.cgroup import mounts, open_manager, tree
from gocker.errors import ConfigError, HostError, SyscallError


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("path", ["", "/abs", "a/../b", "..", "a//b", "a/", ".", "a\nb", "a\0b"])
def test_paths_that_leave_the_parent_are_refused(path: str) -> None:
    with pytest.raises(ConfigError):
        tree.check_name(path)


def test_mkdir_makes_missing_parents_and_names_them(root: int, tmp_path: Path) -> None:
    assert tree.mkdir("a/b/c", root) == ["a", "a/b"]
    assert tree.mkdir("a/b/d", root) == []
    assert (tmp_path / "a/b/d").is_dir()


def test_mkdir_of_what_exists_is_an_error(root: int) -> None:
    tree.mkdir("a", root)
    with pytest.raises(SyscallError, match="File exists"):
        tree.mkdir("a", root)


def test_walk_is_deepest_first(root: int) -> None:
    for path in ("a/b/c", "a/d"):
        tree.mkdir(path, root)
    order = tree.walk("a", root)
    assert order[-1] == "a"
    assert order.index("a/b/c") < order.index("a/b")


def test_remove_takes_everything_below(root: int, tmp_path: Path) -> None:
    tree.mkdir("a/b/c", root)
    assert tree.remove("a", root)
    assert list(tmp_path.iterdir()) == []


def test_remove_of_what_is_gone_succeeds(root: int) -> None:
    assert tree.remove("gone", root)


def test_remove_says_when_something_is_left(root: int, tmp_path: Path) -> None:
    tree.mkdir("a/b", root)
    (tmp_path / "a/b/file").touch()  # stands for a process: the directory cannot go
    assert not tree.remove("a", root)


def test_pids_are_those_of_all_below_without_zero(root: int, tmp_path: Path) -> None:
    tree.mkdir("a/b", root)
    (tmp_path / "a/cgroup.procs").write_text("12\n0\n")
    (tmp_path / "a/b/cgroup.procs").write_text("7\n")
    assert tree.pids("a", root) == [7, 12]


def test_a_file_that_is_not_there_reads_as_none(root: int) -> None:
    assert tree.read("pids.peak", root) is None


def test_a_host_without_cgroups_is_refused() -> None:
    with pytest.raises(HostError, match="no cgroup hierarchy"):
        open_manager(mounts.Layout({}, None))


def test_a_parent_is_relative_to_every_mount_point() -> None:
    text = (
        "1 0 0:1 / /cg/pids rw - cgroup cgroup rw,pids\n"
        "2 0 0:2 / /cg/memory rw - cgroup cgroup rw,memory\n"
    )
    layout = mounts.parse(text, "1:pids:/x\n2:memory:/y\n")
    manager = open_manager(layout, parent="/ci/batch")
    assert manager.directories == {"pids": "/cg/pids/ci/batch", "memory": "/cg/memory/ci/batch"}


def test_without_a_parent_it_is_gocker_below_the_own_cgroup() -> None:
    layout = mounts.parse("1 0 0:1 / /cg/pids rw - cgroup cgroup rw,pids\n", "1:pids:/x\n")
    assert open_manager(layout).directories == {"pids": "/cg/pids/x/gocker"}
