from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gocker.errors import HostError
from gocker.image.tree import Content, Directory, File, Link, Tree


def script(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_a_program_keeps_its_place(make_elf: Any, tmp_path: Path) -> None:
    program = make_elf(tmp_path / "bin" / "a")
    entries = Tree((str(program),)).entries
    file = entries[str(program)]
    assert isinstance(file, File)
    assert (file.source, file.mode) == (str(program), 0o755)
    assert entries[str(program.parent)] == Directory(0o755)


def test_every_link_on_the_way_is_there(make_elf: Any, tmp_path: Path) -> None:
    make_elf(tmp_path / "real" / "mawk")
    (tmp_path / "bin").symlink_to("real")
    (tmp_path / "real" / "awk").symlink_to(tmp_path / "alternatives" / "awk")
    (tmp_path / "alternatives").mkdir()
    (tmp_path / "alternatives" / "awk").symlink_to("../bin/mawk")
    entries = Tree((f"{tmp_path}/bin/awk",)).entries
    assert entries[f"{tmp_path}/bin"] == Link("real")
    assert entries[f"{tmp_path}/real/awk"] == Link(f"{tmp_path}/alternatives/awk")
    assert entries[f"{tmp_path}/alternatives/awk"] == Link("../bin/mawk")
    assert isinstance(entries[f"{tmp_path}/real/mawk"], File)


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(HostError, match="no program"):
        Tree((f"{tmp_path}/a",))


def test_libraries_and_interpreter_come_with_it(make_elf: Any, tmp_path: Path) -> None:
    loader = make_elf(tmp_path / "ld.so")
    library = make_elf(tmp_path / "lib" / "libb.so")
    program = make_elf(
        tmp_path / "a", needed=("libb.so",), runpath="$ORIGIN/lib", interpreter=str(loader)
    )
    entries = Tree((str(program),)).entries
    assert isinstance(entries[str(library)], File)
    assert isinstance(entries[str(loader)], File)


def test_a_script_brings_its_interpreter(make_elf: Any, tmp_path: Path) -> None:
    interpreter = make_elf(tmp_path / "interp")
    entries = Tree((script(tmp_path / "a", f"#! {interpreter} -x\n"),)).entries
    assert isinstance(entries[str(interpreter)], File)


def test_a_script_for_env_brings_the_program_behind_it(make_elf: Any, tmp_path: Path) -> None:
    env, behind = make_elf(tmp_path / "env"), make_elf(tmp_path / "behind")
    entries = Tree((script(tmp_path / "a", f"#!{env} -S A=1 {behind} -x\n"),)).entries
    assert isinstance(entries[str(env)], File)
    assert isinstance(entries[str(behind)], File)


def test_a_script_that_is_its_own_interpreter_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="too deep"):
        Tree((script(tmp_path / "a", f"#!{tmp_path}/a\n"),))


def test_an_empty_interpreter_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="names no interpreter"):
        Tree((script(tmp_path / "a", "#!\n"),))


def test_set_user_id_is_not_taken_over(make_elf: Any, tmp_path: Path) -> None:
    program = make_elf(tmp_path / "su")
    program.chmod(0o4755)
    file = Tree((str(program),)).entries[str(program)]
    assert isinstance(file, File)
    assert file.mode == 0o755


def test_a_busybox_gets_links_for_its_applets_but_not_over_programs(
    make_elf: Any, tmp_path: Path
) -> None:
    busybox = make_elf(tmp_path / "busybox")
    with busybox.open("ab") as file:
        file.write(b"\0[\0[[\0ash\0cat\0ls\0\0not-one\0")
    cat = make_elf(tmp_path / "cat")
    entries = Tree((str(busybox), str(cat))).entries
    assert entries[f"{tmp_path}/ash"] == entries[f"{tmp_path}/ls"] == Link("busybox")
    assert isinstance(entries[str(cat)], File)
    assert f"{tmp_path}/not-one" not in entries


def test_the_root_has_what_programs_take_for_granted() -> None:
    entries = Tree(()).entries
    assert entries["/tmp"] == Directory(0o1777)
    assert {"/proc", "/sys", "/dev", "/run", "/etc"} <= entries.keys()
    passwd = entries["/etc/passwd"]
    assert isinstance(passwd, Content)
    assert passwd.text.startswith("root:x:0:0:")


def test_merged_directories_are_the_hosts() -> None:
    entries = Tree(()).entries
    for path in ("/bin", "/lib"):
        expected = Link(os.readlink(path)) if os.path.islink(path) else None
        assert entries.get(path) == expected


@pytest.mark.parametrize("name", ["no-such-program", "/etc/passwd", "/etc", "../bin/sh"])
def test_what_is_no_program_is_an_error(name: str) -> None:
    with pytest.raises(HostError, match="no program"):
        Tree((name,))


def test_path_of_the_caller_plays_no_part(
    make_elf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_elf(tmp_path / "only-here")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="only-here"):
        Tree(("only-here",))


def test_the_digest_changes_with_the_hosts_file(make_elf: Any, tmp_path: Path) -> None:
    program = make_elf(tmp_path / "a")
    before = Tree((str(program),)).digest()
    assert Tree((str(program),)).digest() == before
    os.utime(program, ns=(0, 0))
    assert Tree((str(program),)).digest() != before
