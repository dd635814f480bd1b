"""Compiled seccomp programs are kept, and a damaged one is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from gocker import oci
from gocker.runtime import programs, seccomp

PROFILE: oci.Seccomp = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "architectures": [],
    "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"}],
}
OTHER: oci.Seccomp = {**PROFILE, "defaultAction": "SCMP_ACT_KILL_PROCESS"}


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[oci.Seccomp]:
    """Return the profiles that were compiled."""
    found: list[oci.Seccomp] = []
    compile_it = seccomp.program

    def counted(profile: oci.Seccomp) -> tuple[bytes, int]:
        found.append(profile)
        return compile_it(profile)

    monkeypatch.setattr(seccomp, "program", counted)
    return found


def test_a_profile_is_compiled_once(tmp_path: Path, compiled: list[oci.Seccomp]) -> None:
    first = programs.program(PROFILE, str(tmp_path))
    assert programs.program(PROFILE, str(tmp_path)) == first == seccomp.program(PROFILE)
    assert compiled.count(PROFILE) == 2  # the second by this test
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_another_profile_has_a_program_of_its_own(
    tmp_path: Path, compiled: list[oci.Seccomp]
) -> None:
    assert programs.program(PROFILE, str(tmp_path)) != programs.program(OTHER, str(tmp_path))
    assert compiled == [PROFILE, OTHER]


@pytest.mark.parametrize("at", [0, 70, -1])
def test_a_damaged_program_is_compiled_again(
    tmp_path: Path, compiled: list[oci.Seccomp], at: int
) -> None:
    first = programs.program(PROFILE, str(tmp_path))
    (file,) = tmp_path.iterdir()
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)
    assert programs.program(PROFILE, str(tmp_path)) == first
    assert compiled == [PROFILE, PROFILE]
    file.write_bytes(b"")
    assert programs.program(PROFILE, str(tmp_path)) == first


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    programs.program(PROFILE, str(tmp_path))
    (file,) = tmp_path.iterdir()
    moved = tmp_path / "moved"
    file.rename(moved)
    file.symlink_to(moved)
    assert programs._read(str(file)) is None


def test_there_are_never_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "MOST", 3)
    for number in range(10):
        profile: oci.Seccomp = {**PROFILE, "defaultErrnoRet": number}
        programs.program(profile, str(tmp_path))
        assert len(list(tmp_path.iterdir())) <= 3


def test_without_a_place_it_is_compiled(tmp_path: Path) -> None:
    expected = seccomp.program(PROFILE)
    assert programs.program(PROFILE, None) == expected
    assert programs.program(PROFILE, str(tmp_path / "missing")) == expected
