"""The files of a container that has ended, merged from its layers and mounts."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from gocker.state.view import Glob, View, find


def tree(top: Path, files: dict[str, str]) -> Path:
    top.mkdir()
    for name, text in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return top


def found(view: View, *patterns: str) -> dict[str, str]:
    return {it.path: os.read(it.fd, 100).decode() for it in find(view, patterns)}


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    return tree(tmp_path / "upper", {"out/a.xml": "a", "out/deep/er/b.xml": "b", "var/log/x": "x"})


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("/out/**", ["/out/a.xml", "/out/deep/er/b.xml"]),
        ("/out", ["/out/a.xml", "/out/deep/er/b.xml"]),
        ("/out/*", ["/out/a.xml", "/out/deep/er/b.xml"]),
        ("/out/*.xml", ["/out/a.xml"]),
        ("/out/**/*.xml", ["/out/a.xml", "/out/deep/er/b.xml"]),
        ("/**/er/*", ["/out/deep/er/b.xml"]),
        ("/o[tu]?/a.xml", ["/out/a.xml"]),
        ("/var/log/x", ["/var/log/x"]),
        ("/*/log", ["/var/log/x"]),
        ("/out/a.xm", []),
        ("/a.xml", []),
        ("/", []),
    ],
)
def test_globs(upper: Path, pattern: str, paths: list[str]) -> None:
    assert list(found(View((str(upper),)), pattern)) == paths
    assert all(Glob(pattern).selects(path) for path in paths)


def test_a_file_is_found_once_for_many_patterns(upper: Path) -> None:
    assert list(found(View((str(upper),)), "/out/a*", "/out/*.xml")) == ["/out/a.xml"]


def test_a_higher_layer_covers_a_lower_one(tmp_path: Path, upper: Path) -> None:
    lower = tree(tmp_path / "lower", {"out/a.xml": "old", "out/c.xml": "c", "var/log": "a file"})
    view = View((str(upper), str(lower)))
    assert found(view, "/out/*.xml") == {"/out/a.xml": "a", "/out/c.xml": "c"}
    assert found(view, "/var/**") == {"/var/log/x": "x"}


def test_what_was_removed_is_gone(tmp_path: Path, upper: Path) -> None:
    lower = tree(tmp_path / "lower", {"out/c.xml": "c", "gone/d": "d"})
    for name in ("out/c.xml", "gone"):
        os.mknod(upper / name, stat.S_IFCHR, os.makedev(0, 0))  # overlayfs.rst, whiteouts
    assert found(View((str(upper), str(lower))), "/out/c.xml", "/gone/**") == {}


def test_what_is_covered_is_not_the_containers(tmp_path: Path, upper: Path) -> None:
    lower = tree(tmp_path / "lower", {"out/secret": "s"})
    view = View((str(upper), str(lower)), covered=frozenset({"/out"}))
    assert "/out/secret" not in found(view, "/out/**")


def test_links_are_not_followed(tmp_path: Path, upper: Path) -> None:
    outside = tree(tmp_path / "outside", {"s": "secret"})
    (upper / "out/link").symlink_to(outside / "s")
    (upper / "out/dir").symlink_to(outside)
    (upper / "top").symlink_to(outside)
    assert "secret" not in found(View((str(upper),)), "/**", "/top/s", "/out/link").values()


def test_other_than_regular_files_are_passed_over(upper: Path) -> None:
    os.mkfifo(upper / "out/fifo")
    assert list(found(View((str(upper),)), "/out/f*")) == []


def test_mounts_are_where_they_were(tmp_path: Path, upper: Path) -> None:
    volume = tree(tmp_path / "volume", {"v.xml": "v"})
    (upper / "etc").mkdir()
    single = tmp_path / "single"
    single.write_text("one")
    mounts: dict[str, Any] = {"/out/deep": str(volume), "/etc/one": str(single), "/var/log": None}
    view = View((str(upper),), mounts)
    assert found(view, "/**") == {
        "/etc/one": "one", "/out/a.xml": "a", "/out/deep/v.xml": "v",
    }  # fmt: skip
    assert found(view, "/out/deep/*") == {"/out/deep/v.xml": "v"}


def test_very_deep_trees_end(upper: Path) -> None:
    path = upper / "out"
    for _ in range(80):
        path /= "d"
        path.mkdir()
    (path / "bottom").write_text("")
    assert "bottom" not in "".join(found(View((str(upper),)), "/out/**"))


def test_no_descriptor_is_left(upper: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    search = find(View((str(upper),)), ["/**"])
    next(search)
    search.close()
    assert set(os.listdir("/proc/self/fd")) == before
