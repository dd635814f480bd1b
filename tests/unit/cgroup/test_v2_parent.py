"""Where containers go on cgroup v2, on directories that look like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from gocker.cgroup import v2
from gocker.cgroup.mounts import Hierarchy
from gocker.errors import HostError


def tree(mount: Path, own: str, *, root: bool, on: str = "") -> Hierarchy:
    """Make a mount whose own cgroup is `own`; a true root has no cgroup.events."""
    directory = mount / own.strip("/")
    directory.mkdir(parents=True, exist_ok=True)
    for path in {mount, directory}:
        (path / "cgroup.subtree_control").write_text(on if path == directory else "")
        (path / "cgroup.procs").touch()
    if not root:
        (mount / "cgroup.events").touch()
    return Hierarchy((), str(mount), "/", own, str(directory))


def test_the_root_itself_can_have_processes_and_children(tmp_path: Path) -> None:
    assert v2.choose_parent(tree(tmp_path, "/", root=True), None, "g") == f"{tmp_path}/g"


def test_below_the_own_cgroup_when_its_controllers_are_on(tmp_path: Path) -> None:
    hierarchy = tree(tmp_path, "/job", root=True, on="cpu memory pids")
    assert v2.choose_parent(hierarchy, None, "g") == f"{tmp_path}/job/g"


def test_root_outside_of_a_container_goes_below_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    hierarchy = tree(tmp_path, "/session.scope", root=True)
    assert v2.choose_parent(hierarchy, None, "g") == f"{tmp_path}/g"


def test_a_second_gocker_finds_the_parent_of_the_first(tmp_path: Path) -> None:
    tree(tmp_path, "/job", root=False, on="memory pids")
    hierarchy = tree(tmp_path, f"/job/{v2.SUPERVISOR}", root=False)
    assert v2.choose_parent(hierarchy, None, "g") == f"{tmp_path}/job/g"


def test_an_explicit_parent_wins(tmp_path: Path) -> None:
    hierarchy = tree(tmp_path, "/", root=True)
    assert v2.choose_parent(hierarchy, "/ci/batch", "g") == f"{tmp_path}/ci/batch"


def test_nothing_usable_is_an_error_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(HostError) as raised:
        v2.choose_parent(tree(tmp_path, "/x", root=False), None, "g")
    assert "Delegate=yes" in (raised.value.hint or "")
