from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gocker.errors import HostError, UsageError
from gocker.state import volumes
from gocker.state.roots import Roots


def test_a_volume_is_made_once_and_kept(roots: Roots) -> None:
    volume, made = volumes.create(roots, "demo", "data")
    Path(volume.path, "file").write_text("x")
    assert made
    assert volumes.create(roots, "demo", "data") == (volume, False)
    assert Path(volume.path, "file").read_text() == "x"


def test_a_containers_ordinary_user_can_enter_whatever_the_umask(roots: Roots) -> None:
    old = os.umask(0o077)
    try:
        volume, _ = volumes.create(roots, "demo", "data")
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(volume.path).st_mode) == 0o755


def test_volumes_are_listed_by_project(roots: Roots) -> None:
    for project, name in (("demo", "a"), ("demo", "b"), ("other", "a")):
        volumes.create(roots, project, name)
    assert [(v.project, v.name) for v in volumes.volumes(roots, "demo")] == [
        ("demo", "a"), ("demo", "b"),
    ]  # fmt: skip
    assert len(volumes.volumes(roots)) == 3


def test_a_removed_volume_is_gone_with_its_data(roots: Roots) -> None:
    volume, _ = volumes.create(roots, "demo", "data")
    Path(volume.path, "file").write_text("x")
    assert volumes.remove(roots, "demo", "data")
    assert not Path(volume.path).exists()
    assert volumes.volumes(roots) == []
    assert not volumes.remove(roots, "demo", "data")


def test_two_names_of_one_directory_do_not_share_data(roots: Roots) -> None:
    volume, _ = volumes.create(roots, "a", "b_c")
    with pytest.raises(HostError, match="belongs to project 'a'"):
        volumes.create(roots, "a_b", "c")
    assert not volumes.remove(roots, "a_b", "c")
    assert Path(volume.path).is_dir()


def test_data_without_an_owner_is_neither_given_away_nor_removed(roots: Roots) -> None:
    volume, _ = volumes.create(roots, "demo", "data")
    Path(roots.data, "volumes", ".owner", "demo_data").write_text("garbage")
    with pytest.raises(HostError, match="no record of its owner"):
        volumes.create(roots, "demo", "data")
    assert not volumes.remove(roots, "demo", "data")
    assert Path(volume.path).is_dir()


def test_a_name_cannot_lead_out_of_the_volumes(roots: Roots) -> None:
    with pytest.raises(UsageError):
        volumes.create(roots, "demo", "../../x")
