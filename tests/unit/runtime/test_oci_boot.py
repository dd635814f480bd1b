"""The code of a command in one file: taken while it is good, and no difference seen."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gocker.linux import plainctypes
from gocker.runtime.oci.boot import command
from tests.support.oci import ROOT


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, with nothing compiled."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "gocker", tmp_path / "gocker", ignore=ignored)
    return tmp_path / "gocker"


def version(package: Path, *options: str) -> str:
    begin = [sys.executable, *options, "-I", "-S", str(package / "runtime/oci/__main__.py")]
    done = subprocess.run([*begin, "version"], check=True, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout


def files(package: Path) -> list[Path]:
    return list((package / "runtime/oci/__pycache__").glob("*.modules"))


def test_a_file_is_made_once_and_taken(package: Path) -> None:
    first = version(package)
    (made,) = files(package)
    before = made.stat()
    assert version(package) == first
    assert made.stat().st_ino == before.st_ino


def test_a_changed_source_is_seen(package: Path) -> None:
    version(package)
    source = package / "__init__.py"
    source.write_text(source.read_text() + '__version__ = "changed"\n')
    assert "version changed" in version(package)
    assert "version changed" in version(package)  # from a new file


def test_a_damaged_file_is_no_error(package: Path) -> None:
    first = version(package)
    (made,) = files(package)
    whole = made.read_bytes()
    for data in (b"", whole[:100], b"\0" * 100):
        made.write_bytes(data)
        assert version(package) == first
    assert made.read_bytes()[:16] == whole[:16]


def test_no_file_where_no_bytecode_is_wanted(package: Path) -> None:
    version(package, "-B")
    assert files(package) == []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["run", "x"], "run"),
        (["--root", "state", "run", "x"], "run"),
        (["--root=state", "--debug", "kill", "x"], "kill"),
        (["--log", "../../x", "../../etc"], None),
        (["--version"], None),
        ([], None),
    ],
)
def test_the_word_that_is_the_command(words: list[str], found: str | None) -> None:
    assert command(words) == found


def test_types_are_as_large_as_those_of_ctypes() -> None:
    for name in plainctypes.__all__:
        plain, original = getattr(plainctypes, name), getattr(ctypes, name)
        if name.startswith("c_"):
            assert ctypes.sizeof(plain) == ctypes.sizeof(original), name


def test_a_failed_call_leaves_its_errno() -> None:
    libc = plainctypes.PyDLL(None, use_errno=True)
    close = libc["close"]
    close.argtypes = (plainctypes.c_int,)
    assert close(-1) == -1
    assert plainctypes.get_errno() == 9
    assert os.strerror(9) == "Bad file descriptor"
