"""The list of mutants fits the code; a few are tried here, all by tests.security.mutants."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.security import mutants

SAMPLE = ("A13 no_new_privs is not set", "B14 one path is forgotten", "H6 the filter is not loaded")


def test_every_mutant_changes_one_place() -> None:
    found = mutants.mutants()
    assert len(found) >= 40
    assert len({mutant.name for mutant in found}) == len(found)
    for mutant in found:
        assert (mutants.ROOT / mutant.file).read_text().count(mutant.old) == 1, mutant.name
        assert mutant.new != mutant.old
        for node in mutant.test.split(" ")[:1]:
            path, _, name = node.partition("::")
            assert not name or f"def {name}(" in (mutants.ROOT / path).read_text(), mutant.name


@pytest.mark.root
@pytest.mark.parametrize("name", SAMPLE)
def test_a_mutant_is_killed(name: str, tmp_path: Path) -> None:
    (mutant,) = [mutant for mutant in mutants.mutants() if mutant.name == name]
    mutants.copy(tmp_path)
    assert mutants.tried(tmp_path, mutant)
