from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import pytest

from gocker.image.elf import read_elf


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("wide", [True, False])
def test_what_an_object_needs(wide: bool, order: str, make_elf: Any, tmp_path: Path) -> None:
    path = make_elf(
        tmp_path / "a",
        needed=("libb.so", "libc.so.6"), interpreter="/lib/ld.so",
        rpath="/r:$ORIGIN/../lib", runpath="/q", wide=wide, order=order,
    )  # fmt: skip
    elf = read_elf(str(path))
    assert elf is not None
    assert elf.kind == (2 if wide else 1, 1 if order == "<" else 2, 62)
    assert elf.interpreter == "/lib/ld.so"
    assert elf.needed == ("libb.so", "libc.so.6")
    assert elf.rpath == ("/r", "$ORIGIN/../lib")
    assert elf.runpath == ("/q",)


def test_a_library_has_no_interpreter(make_elf: Any, tmp_path: Path) -> None:
    elf = read_elf(str(make_elf(tmp_path / "a", needed=("libc.so.6",))))
    assert elf is not None
    assert elf.interpreter is None


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF" + bytes(60)])
def test_other_files_are_no_elf(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    assert read_elf(str(tmp_path / "a")) is None


def test_damaged_files_never_raise(make_elf: Any, tmp_path: Path) -> None:
    path = make_elf(tmp_path / "a", needed=("libb.so",), interpreter="/lib/ld.so", rpath="/r")
    good = path.read_bytes()
    chance = random.Random(7)  # noqa: S311  # a repeatable test, not a secret
    for _ in range(2000):
        content = bytearray(good[: chance.choice([len(good), chance.randrange(len(good))])])
        for _ in range(3):
            if content:
                content[chance.randrange(len(content))] = chance.choice([0, 1, 127, 255])
        path.write_bytes(content)
        read_elf(str(path))


def test_this_interpreter_is_an_elf_with_an_interpreter() -> None:
    elf = read_elf(str(Path(sys.executable).resolve()))
    assert elf is not None
    assert elf.interpreter is not None
