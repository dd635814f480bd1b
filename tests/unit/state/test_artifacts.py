"""Copies of artifacts: where they go, whose they are, and what stays behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gocker.state import artifacts, rootless
from gocker.state.artifacts import Copied, Shelf, copy
from gocker.state.view import View


class Case:
    """A container's files and a project."""

    def __init__(self, top: Path) -> None:
        self.upper = top / "upper"
        self.project = top / "project"
        self.upper.mkdir()
        self.project.mkdir()
        self.at = self.project / ".gocker/runs/r/a/1"

    def write(self, name: str, text: str = "text", mode: int = 0o644) -> None:
        path = self.upper / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def copy(self, *patterns: str, max_size: int | None = None) -> Copied:
        shelf = Shelf(str(self.project), "r", "a", 1)
        return copy(View((str(self.upper),)), patterns or ("/out/**",), shelf, max_size)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_files_keep_their_paths_content_and_mode(case: Case) -> None:
    case.write("out/x/run.sh", "#!", 0o4755)
    result = case.copy()
    assert (case.at / "out/x/run.sh").read_text() == "#!"
    assert (case.at / "out/x/run.sh").stat().st_mode & 0o7777 == 0o755
    (saved,) = result.files
    assert (saved.path, saved.file, saved.bytes) == (
        "/out/x/run.sh", ".gocker/runs/r/a/1/out/x/run.sh", 2
    )  # fmt: skip
    assert result.notes == []


def test_git_ignores_the_directory(case: Case) -> None:
    case.write("out/x")
    case.copy()
    assert (case.project / ".gocker/.gitignore").read_text() == "*\n"


def test_what_does_not_fit_is_told_and_the_rest_is_copied(case: Case) -> None:
    case.write("out/1", "x" * 10)
    case.write("out/2", "x" * 2000)
    case.write("out/3", "x" * 10)
    result = case.copy(max_size=100)
    assert [saved.path for saved in result.files] == ["/out/1", "/out/3"]
    assert result.notes == ["artifact /out/2 not saved: 2 KiB are over max_size (100 B in all)"]


def test_there_is_a_limit_where_the_spec_has_none(case: Case) -> None:
    case.write("out/sparse", "")
    os.truncate(case.upper / "out/sparse", artifacts.MAX_SIZE + 1)
    result = case.copy()
    assert result.files == []
    assert "over max_size" in result.notes[0]


def test_nothing_found_is_told(case: Case) -> None:
    assert case.copy("/a/*", "/b").notes == ["no artifact matches /a/*, /b"]


@pytest.mark.parametrize("name", [".gocker", ".gocker/runs", ".gocker/runs/r/a"])
def test_a_link_in_the_project_leads_nowhere(case: Case, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = case.project / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)
    case.write("out/x")
    result = case.copy()
    assert list(outside.iterdir()) == []
    assert "is in the way" in result.notes[0]


def test_a_file_that_is_there_is_not_overwritten(case: Case) -> None:
    case.write("out/x", "new")
    (case.at / "out").mkdir(parents=True)
    (case.at / "out/x").symlink_to(case.project / "precious")
    result = case.copy()
    assert not (case.project / "precious").exists()
    assert "File exists" in result.notes[0]


def test_names_of_any_bytes(case: Case) -> None:
    (case.upper / "out").mkdir()
    Path(os.fsdecode(os.fsencode(case.upper / "out") + b"/\xff\n")).write_text("x")
    (saved,) = case.copy().files
    assert saved.path == "/out/\\xff\n"
    saved.path.encode()


def test_only_sudo_gives_an_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert rootless.owner({"SUDO_UID": "1000", "SUDO_GID": "100"}) == (1000, 100)
    assert rootless.owner({"SUDO_UID": "1000"}) is None
    monkeypatch.setattr(os, "geteuid", lambda: 5)
    assert rootless.owner({"SUDO_UID": "1000", "SUDO_GID": "100"}) is None
