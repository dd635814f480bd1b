from __future__ import annotations

from gocker.linux import needed
from tests import hosts


def test_the_table_of_calls_is_that_of_the_tests() -> None:
    assert hosts.written() == hosts.table()


def test_what_is_asked_for_is_what_is_refused() -> None:
    refused = {name for name, outcome in hosts.OUTCOMES.items() if outcome == hosts.REFUSED}
    asked = {name for name, _ in needed._PROBES}
    assert refused <= asked
    # A filter that takes setns away is noticed, too; most hosts that lack it lack the others.
    assert asked - refused == {"setns"}


def test_a_kernel_that_has_them_all_misses_none() -> None:
    # move_mount and pivot_root want a capability before they look at anything.
    assert needed.missing().keys() <= {"move_mount", "pivot_root"}
