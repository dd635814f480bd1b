"""A ``bins:`` root really runs its programs, and finds the libraries that ldd finds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gocker.image.bins import bins
from gocker.image.libraries import Libraries
from gocker.image.path import which
from gocker.state.roots import Roots


@pytest.fixture
def roots(tmp_path: Path) -> Iterator[Roots]:
    with Roots(str(tmp_path / "data"), str(tmp_path / "live")) as opened:
        yield opened


def in_root(root: str, *command: str) -> str:
    result = subprocess.run(
        ["/usr/sbin/chroot", root, *command],
        capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert result.stderr == ""
    return result.stdout


@pytest.mark.root
def test_programs_run_with_their_libraries(roots: Roots) -> None:
    root = bins(("sh", "ls", "cat", "grep", "env"), roots)
    script = "cat /etc/passwd | grep -c root; ls -d /tmp /proc; env true 2>/dev/null || echo no"
    assert in_root(root, "/bin/sh", "-c", script) == "1\n/proc\n/tmp\nno\n"


@pytest.mark.root
def test_a_script_runs_by_its_interpreter(roots: Roots, tmp_path: Path) -> None:
    script = tmp_path / "hello"
    script.write_text('#!/bin/sh\necho "hello $1"\n')
    script.chmod(0o755)
    root = bins((str(script),), roots)
    assert in_root(root, str(script), "you") == "hello you\n"


@pytest.mark.root
def test_the_root_has_no_other_programs(roots: Roots) -> None:
    root = Path(bins(("cat",), roots))
    folders = {path.resolve() for path in (root / "usr" / "bin", root / "usr" / "sbin")}
    assert [path.name for folder in folders for path in folder.iterdir()] == ["cat"]


@pytest.mark.parametrize("name", ["sh", "ls", "grep", "tar", "mount"])
def test_the_libraries_are_those_of_ldd(name: str) -> None:
    program = which(name)
    printed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    expected = {os.path.realpath(word) for word in printed.split() if word.startswith("/")}
    assert {os.path.realpath(path) for path in Libraries().closure(program)} == expected
