from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from gocker.errors import HostError
from gocker.state import aside
from gocker.state.lockholders import signal_holders
from gocker.state.record import SCHEMA_VERSION, seal, unseal
from gocker.state.roots import Roots
from gocker.state.run import Run, runs
from gocker.state.volumes import create, remove, volumes

FACTS = {"project": "demo", "numbers": [1, 2.5, None], "name": "ü\udcff"}


def test_a_sealed_record_gives_back_its_facts() -> None:
    assert unseal(seal(FACTS)) == (FACTS | {"schema": SCHEMA_VERSION}, None)


def test_no_flipped_bit_gives_other_facts() -> None:
    good = seal(FACTS)
    facts, _ = unseal(good)
    for position in range(len(good)):
        for bit in range(8):
            content = bytearray(good)
            content[position] ^= 1 << bit
            found, reason = unseal(bytes(content))
            # "\ud" for "\uD" and the like are the same text.
            assert reason is not None or found == facts, content


@pytest.mark.parametrize("size", [0, 1, 40])
def test_a_cut_record_is_damaged(size: int) -> None:
    found, reason = unseal(seal(FACTS)[:-1][:size])
    assert (found, reason) == (None, "is missing or not readable")


def test_a_record_without_its_digest_is_damaged() -> None:
    facts = json.loads(seal(FACTS))
    del facts["digest"]
    assert unseal(json.dumps(facts).encode())[0] is None


def test_the_first_schema_had_no_digest() -> None:
    old = json.dumps({"schema": 1, "project": "demo"}).encode()
    assert unseal(old) == ({"schema": 1, "project": "demo"}, None)


def test_a_newer_schema_is_told() -> None:
    facts, reason = unseal(json.dumps({"schema": SCHEMA_VERSION + 1, "x": 1}).encode())
    assert facts is not None
    assert reason == f"has schema {SCHEMA_VERSION + 1}; this gocker knows schemas up to 2"


def test_a_volume_whose_owner_is_damaged_is_neither_used_nor_removed(roots: Roots) -> None:
    volume, _ = create(roots, "demo", "data")
    owner = Path(roots.data, "volumes/.owner/demo_data")
    owner.write_bytes(owner.read_bytes().replace(b'"demo"', b'"dema"'))
    Path(volume.path, "file").write_text("precious")
    assert volumes(roots) == []
    assert not remove(roots, "demo", "data")
    assert not remove(roots, "dema", "data")
    with pytest.raises(HostError, match="no record of its owner"):
        create(roots, "demo", "data")
    assert Path(volume.path, "file").read_text() == "precious"


def test_a_run_of_another_project_is_not_found_by_a_flip(roots: Roots) -> None:
    run = Run.create(roots, "demo", ())
    run.close()
    path = Path(run.path, "run.json")
    path.write_bytes(path.read_bytes().replace(b'"demo"', b'"dema"'))
    assert runs(roots, "dema") == []
    assert runs(roots, "demo") == []
    assert [found.state for found in runs(roots)] == ["damaged"]


def test_the_last_damaged_ones_are_kept_aside(roots: Roots) -> None:
    fd = roots.open_data("runs")
    for number in range(aside.KEEP + 3):
        os.mkdir(f"x{number:02}", dir_fd=fd)
        assert aside.put(roots, f"x{number:02}", fd) == f"{roots.data}/aside/x{number:02}"
    os.mkdir("x22", dir_fd=fd)
    assert aside.put(roots, "x22", fd) == f"{roots.data}/aside/x22.2"
    os.close(fd)
    kept = sorted(os.listdir(f"{roots.data}/aside"))
    assert (len(kept), kept[0], kept[-1]) == (aside.KEEP, "x04", "x22.2")


def test_only_those_who_have_the_lock_open_are_signalled(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    directory = os.open(tmp_path, os.O_RDONLY)
    file = os.open(lock, os.O_RDONLY)
    with (
        subprocess.Popen(["sleep", "100"], pass_fds=[file]) as holder,
        subprocess.Popen(["sleep", "100"]) as other,
    ):
        assert signal_holders("lock", signal.SIGTERM, dir_fd=directory) == 1
        assert holder.wait(10) == -signal.SIGTERM
        assert other.poll() is None
        other.kill()
    os.close(file)
    os.close(directory)
