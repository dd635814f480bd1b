from __future__ import annotations

import pytest

from gocker.errors import UsageError
from gocker.state.names import checked, instance_of, is_run_id, log_name, new_run_id, run_of


def test_run_ids_sort_by_time() -> None:
    times = [1.0, 1.5, 1_700_000_000.0, 1_700_000_000.5, 4_000_000_000.0]
    ids = [new_run_id(time) for time in times]
    assert sorted(ids) == ids
    assert all(is_run_id(run_id) for run_id in ids)


def test_run_ids_of_one_moment_differ() -> None:
    assert len({new_run_id(1.0) for _ in range(50)}) == 50


def test_a_container_names_its_run() -> None:
    run_id = new_run_id(1.0)
    assert run_of(f"{run_id}-web-1") == run_id


@pytest.mark.parametrize("name", ["", ".", "..", "../x", ".x", "a/b", "a\n", "-x", "a" * 201])
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="not a valid name"):
        checked(name, "project")


@pytest.mark.parametrize("attempt", [1, 2, 30])
@pytest.mark.parametrize(
    "instance", ["web", "test-3.11-15", "a@2", "../../etc", ".x", "a b/ü", "x%40", "\udcff", "a.2"]
)
def test_log_names_are_plain_and_come_back(instance: str, attempt: int) -> None:
    name = log_name(instance, attempt)
    assert "/" not in name
    assert not name.startswith(".")
    assert instance_of(name) == (instance, attempt)


@pytest.mark.parametrize("name", ["lock", "a@0.log", "a@b@2.log", "@2.log", ".log"])
def test_other_files_are_no_logs(name: str) -> None:
    assert instance_of(name) is None
