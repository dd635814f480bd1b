"""What a user may switch on in a part of the v2 tree that was delegated to him."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gocker.cgroup import v2


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a mount point with ``top/session`` below; controllers are switched on for ``top``."""
    for path, controllers in (
        (tmp_path, "cpu memory pids"), (tmp_path / "top", "memory pids"),
        (tmp_path / "top/session", ""),
    ):  # fmt: skip
        path.mkdir(exist_ok=True)
        (path / "cgroup.controllers").write_text(f"{controllers}\n")
        (path / "cgroup.subtree_control").write_text("")
    return tmp_path


@pytest.mark.parametrize(("writable", "expected"), [
    (("", "top", "top/session"), ["cpu", "memory", "pids"]),
    (("top", "top/session"), ["memory", "pids"]),
    (("top/session",), []),
])  # fmt: skip
def test_controllers_are_those_of_the_highest_that_is_ours(
    tree: Path, monkeypatch: pytest.MonkeyPatch, writable: tuple[str, ...], expected: list[str]
) -> None:
    ours = {str(tree / name / "cgroup.subtree_control") for name in writable}
    monkeypatch.setattr(os, "access", lambda path, _: str(path) in ours)
    assert v2._available(str(tree), str(tree / "top/session/gocker")) == expected
