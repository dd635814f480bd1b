from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gocker.errors import HostError
from gocker.image import libraries
from gocker.image.libraries import Libraries


def closure(path: Path) -> list[str]:
    return Libraries().closure(str(path))


def test_libraries_of_libraries_are_found(make_elf: Any, tmp_path: Path) -> None:
    lib = tmp_path / "lib"
    make_elf(lib / "libb.so", needed=("libc.so",), runpath="$ORIGIN")
    make_elf(lib / "libc.so")
    program = make_elf(tmp_path / "bin" / "a", needed=("libb.so",), runpath="${ORIGIN}/../lib")
    assert closure(program) == [str(lib / "libb.so"), str(lib / "libc.so")]


def test_the_interpreter_is_part_of_it(make_elf: Any, tmp_path: Path) -> None:
    program = make_elf(tmp_path / "a", interpreter="/lib/ld-test.so")
    assert closure(program) == ["/lib/ld-test.so"]


def test_libraries_that_need_each_other_end(make_elf: Any, tmp_path: Path) -> None:
    make_elf(tmp_path / "libb.so", needed=("libc.so",), runpath="$ORIGIN")
    make_elf(tmp_path / "libc.so", needed=("libb.so",), runpath="$ORIGIN")
    program = make_elf(tmp_path / "a", needed=("libb.so",), runpath="$ORIGIN")
    assert len(closure(program)) == 2


def test_rpath_of_the_program_serves_its_libraries(make_elf: Any, tmp_path: Path) -> None:
    make_elf(tmp_path / "libb.so", needed=("libc.so",))
    make_elf(tmp_path / "libc.so")
    program = make_elf(tmp_path / "a", needed=("libb.so",), rpath="$ORIGIN")
    assert len(closure(program)) == 2


def test_runpath_of_the_program_does_not(make_elf: Any, tmp_path: Path) -> None:
    make_elf(tmp_path / "libb.so", needed=("libonly-here.so",))
    make_elf(tmp_path / "libonly-here.so")
    program = make_elf(tmp_path / "a", needed=("libb.so",), runpath="$ORIGIN")
    with pytest.raises(HostError, match=r"libb\.so' needs the library 'libonly-here\.so'"):
        closure(program)


def test_a_library_of_another_machine_is_passed_over(make_elf: Any, tmp_path: Path) -> None:
    make_elf(tmp_path / "wrong" / "libb.so", machine=183)
    right = make_elf(tmp_path / "right" / "libb.so")
    program = make_elf(
        tmp_path / "a", needed=("libb.so",), runpath=f"{tmp_path}/wrong:{tmp_path}/right"
    )
    assert closure(program) == [str(right)]


def test_a_relative_runpath_is_not_taken_from_the_working_directory(
    make_elf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_elf(tmp_path / "here" / "libb.so")
    monkeypatch.chdir(tmp_path)
    program = make_elf(tmp_path / "a", needed=("libb.so",), runpath="here")
    with pytest.raises(HostError, match=r"libb\.so"):
        closure(program)


def test_directories_of_ld_so_conf_are_searched_with_their_includes(
    make_elf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = make_elf(tmp_path / "opt" / "libb.so")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "x.conf").write_text(f"# a comment\n{tmp_path}/opt # another\n")
    (tmp_path / "ld.so.conf").write_text("include conf.d/*.conf\ninclude ld.so.conf\n")
    monkeypatch.setattr(libraries, "_CONF", str(tmp_path / "ld.so.conf"))
    finder = Libraries()
    assert finder.closure(str(make_elf(tmp_path / "a", needed=("libb.so",)))) == [str(library)]
    assert finder.configured


def test_a_static_program_needs_nothing(make_elf: Any, tmp_path: Path) -> None:
    assert closure(make_elf(tmp_path / "a")) == []


def test_a_script_has_no_libraries(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("#!/bin/sh\n")
    assert closure(tmp_path / "a") == []
