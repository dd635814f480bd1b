"""``gocker init`` writes what gocker reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from gocker.cli.init import NAME
from gocker.cli.main import run
from gocker.spec.find import NAMES


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "My App"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


def test_what_it_writes_is_valid(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert NAMES[0] == NAME
    assert run(["init"]) == 0
    assert run(["validate", "--strict"]) == 0, capsys.readouterr().err
    assert "\nname: myapp\n" in (here / NAME).read_text()


@pytest.mark.parametrize("name", NAMES)
def test_no_spec_is_replaced_or_hidden(here: Path, name: str) -> None:
    (here / name).write_text("mine")
    assert run(["init"]) == 3
    assert (here / name).read_text() == "mine"
    assert [path.name for path in here.iterdir()] == [name]


def test_force_replaces(here: Path) -> None:
    (here / "a.yaml").write_text("old" * 10_000)
    assert run(["init", "a.yaml", "--force", "--name", "x"]) == 0
    assert run(["validate", "a.yaml"]) == 0


def test_a_name_that_is_none_is_refused(here: Path) -> None:
    assert run(["init", "--name", "No Name"]) == 2
    assert list(here.iterdir()) == []
