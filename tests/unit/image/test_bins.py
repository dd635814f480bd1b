from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gocker.errors import HostError
from gocker.image import bins as module
from gocker.image.bins import bins
from gocker.state.roots import Roots

ROOT = Path(__file__).parents[3]


@pytest.fixture
def program(make_elf: Any, tmp_path: Path) -> Path:
    path: Path = make_elf(tmp_path / "host" / "bin" / "a")
    (path.parent / "link").symlink_to("a")
    return path


def cached(roots: Roots) -> list[str]:
    return [n for n in os.listdir(Path(roots.data, "images", "bins")) if not n.startswith(".lock")]


def test_the_root_has_the_program_and_its_link(program: Path, roots: Roots) -> None:
    root = Path(bins((f"{program.parent}/link",), roots))
    copy = root / str(program)[1:]
    assert copy.read_bytes() == program.read_bytes()
    assert copy.stat().st_ino != program.stat().st_ino
    assert os.readlink(copy.with_name("link")) == "a"


def test_modes_do_not_depend_on_the_umask(program: Path, roots: Roots) -> None:
    old = os.umask(0o777)
    try:
        root = Path(bins((str(program),), roots))
    finally:
        os.umask(old)
    modes = {name: stat.S_IMODE((root / name).stat().st_mode) for name in ("", "tmp", "etc/passwd")}
    assert modes == {"": 0o755, "tmp": 0o1777, "etc/passwd": 0o644}
    assert stat.S_IMODE((root / str(program)[1:]).stat().st_mode) == 0o755


def test_the_second_time_it_is_there(program: Path, roots: Roots) -> None:
    root = bins((str(program),), roots)
    before = os.stat(root)
    assert bins((str(program),), roots) == root
    assert os.stat(root) == before


def test_a_changed_program_makes_a_new_root(program: Path, roots: Roots) -> None:
    old = bins((str(program),), roots)
    program.write_bytes(program.read_bytes() + b"new")
    new = bins((str(program),), roots)
    assert new != old
    assert (Path(new) / str(program)[1:]).read_bytes().endswith(b"new")


def test_a_failed_copy_leaves_nothing(
    program: Path, roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(HostError, match="No space left"):
        bins((str(program),), roots)
    assert cached(roots) == []


def test_a_program_that_cannot_be_read_is_named(
    program: Path, roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr("gocker.image.libraries.read_elf", refused)
    with pytest.raises(HostError, match=f"'{program}' Permission denied"):
        bins((str(program),), roots)


def test_a_file_system_without_copy_file_range_is_copied_plainly(
    program: Path, roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refused)
    root = Path(bins((str(program),), roots))
    assert (root / str(program)[1:]).read_bytes() == program.read_bytes()


def test_a_file_that_changes_while_it_is_copied_is_not_cached(
    program: Path, roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Changing(module.Tree):
        def digest(self) -> str:
            program.write_bytes(program.read_bytes() + b"more")
            return super().digest()

    monkeypatch.setattr(module, "Tree", Changing)
    with pytest.raises(HostError, match="changed while it was copied"):
        bins((str(program),), roots)
    assert cached(roots) == []


def test_what_a_killed_builder_left_is_removed(program: Path, roots: Roots) -> None:
    left = Path(roots.data, "images", "bins", ".new-x", "usr")
    left.mkdir(parents=True)
    for path in (left.parents[1], left.parents[2]):
        path.chmod(0o700)
    bins((str(program),), roots)
    assert not left.parent.exists()


def test_two_at_once_make_one_root(program: Path, roots: Roots) -> None:
    code = (
        "import sys; from gocker.image.bins import bins; from gocker.state.roots import Roots;"
        "sys.stdin.read(); print(bins((sys.argv[1],), Roots(*sys.argv[2:])))"
    )
    command = [sys.executable, "-c", code, str(program), roots.data, os.path.dirname(roots.live)]
    builders = [
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for builder in builders:
        assert builder.stdin is not None
        builder.stdin.close()
        builder.stdin = None
    results = {builder.communicate()[0] for builder in builders}
    assert len(results) == 1
    assert [builder.returncode for builder in builders] == [0, 0, 0]
    assert len(cached(roots)) == 1
