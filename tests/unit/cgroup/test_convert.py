from __future__ import annotations

import pytest

from gocker.cgroup import convert
from gocker.errors import ConfigError


@pytest.mark.parametrize(
    ("shares", "weight"), [(2, 1), (3, 2), (512, 59), (1024, 100), (2048, 174), (262_144, 10_000)]
)
def test_shares_map_ends_to_ends_and_default_to_default(shares: int, weight: int) -> None:
    assert convert.cpu_weight(shares) == weight


def test_weights_grow_with_shares_and_stay_in_range() -> None:
    weights = [convert.cpu_weight(shares) for shares in range(2, 262_145, 97)]
    assert weights == sorted(weights)
    assert 1 <= weights[0] <= weights[-1] <= 10_000


@pytest.mark.parametrize("shares", [1, 262_145, -1])
def test_shares_outside_the_range_are_refused(shares: int) -> None:
    with pytest.raises(ConfigError):
        convert.cpu_weight(shares)


@pytest.mark.parametrize(
    ("memory", "swap", "expected"),
    [(100, 100, 0), (100, 150, 50), (100, -1, -1), (None, -1, -1), (-1, -1, -1)],
)
def test_swap_is_what_exceeds_memory(memory: int | None, swap: int, expected: int) -> None:
    assert convert.swap_max_v2(memory, swap) == expected


@pytest.mark.parametrize(("memory", "swap"), [(100, 99), (None, 50), (-1, 50)])
def test_contradictory_swap_is_refused(memory: int | None, swap: int) -> None:
    with pytest.raises(ConfigError):
        convert.swap_max_v2(memory, swap)


@pytest.mark.parametrize(
    ("quota", "period", "line"),
    [
        (50_000, 100_000, "50000 100000"),
        (50_000, None, "50000 100000"),
        (-1, 20_000, "max 20000"),
        (None, 20_000, "max 20000"),
    ],
)
def test_cpu_max(quota: int | None, period: int | None, line: str) -> None:
    assert convert.cpu_max(quota, period) == line


@pytest.mark.parametrize(("weight", "expected"), [(10, 1), (500, 4950), (1000, 10_000)])
def test_io_weight(weight: int, expected: int) -> None:
    assert convert.io_weight(weight) == expected


def test_io_weight_outside_the_range_is_refused() -> None:
    with pytest.raises(ConfigError):
        convert.io_weight(9)
