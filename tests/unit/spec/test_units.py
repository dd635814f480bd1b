from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gocker.spec.units import (
    format_duration,
    format_float,
    parse_bytes,
    parse_duration_ns,
    parse_float,
    parse_int,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", 512), ("2b", 2), ("64k", 65536), ("64K", 65536), ("64KB", 65536),
        ("1.5g", 1610612736), ("1GiB", 1073741824), ("1 gb", 1073741824), ("-1", -1),
        ("+5", 5), ("102400k", 104857600), ("100M", 104857600), ("1t", 1 << 40), ("1p", 1 << 50),
        (".5k", 512), ("1e3", 1000), ("5 ", 5), ("0", 0), ("0.1", 0),
    ],
)  # fmt: skip
def test_sizes_are_dockers(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "x", "1x", "1kk", "-5k", " 5", "1  gb", "9999999p", "inf", "nan", "1_0", "k", "1kib1",
     "0x10", "1kbi", "٣", "1" * 5000],
)  # fmt: skip
def test_bad_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1h5m30s20ms", "1h5m30.02s"), ("0.5s", "500ms"), ("1d", "24h0m0s"), ("0", "0s"),
        ("2w", "336h0m0s"), ("-3s", "-3s"), ("1m30s", "1m30s"), ("100us", "100µs"),
        ("1ns", "1ns"), (".5s", "500ms"), ("1s1m", "1m1s"), ("90m", "1h30m0s"), ("1.5h", "1h30m0s"),
        ("+1s", "1s"), ("0s", "0s"), ("1.000000001s", "1.000000001s"), ("1µs", "1µs"),
        ("1500us", "1.5ms"), ("5m0s", "5m0s"),
    ],
)  # fmt: skip
def test_durations_are_gos(text: str, shown: str) -> None:
    assert format_duration(parse_duration_ns(text)) == shown


@pytest.mark.parametrize(
    "text", ["30", "", "s", "1x", "+", "-", "1.2.3s", "9999999h9999999h", " 1s", "1s ", "1 s", "."]
)
def test_bad_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration_ns(text)


def test_a_duration_without_unit_says_so() -> None:
    with pytest.raises(ValueError, match="missing unit"):
        parse_duration_ns("30")


@given(st.integers(min_value=-(1 << 62), max_value=1 << 62))
def test_a_formatted_duration_parses_to_itself(ns: int) -> None:
    # The reference keeps fractions as floats too, so the last digits of centuries may differ.
    assert abs(parse_duration_ns(format_duration(ns)) - ns) <= 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.1, "1.1"), (3.0, "3"), (1e3, "1000"), (1e6, "1e+06"), (123456789.0, "1.23456789e+08"),
        (0.0001, "0.0001"), (0.00001, "1e-05"), (-2.5, "-2.5"), (0.0, "0"), (100.25, "100.25"),
        (999999.0, "999999"), (1e21, "1e+21"), (1.5e-7, "1.5e-07"), (1e100, "1e+100"),
    ],
)  # fmt: skip
def test_floats_print_as_in_go(value: float, text: str) -> None:
    assert format_float(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_printed_float_is_the_same_number(value: float) -> None:
    assert float(format_float(value)) == value


@pytest.mark.parametrize("text", ["", "1_0", "1.0", "0x1", " 1", "٣", str(1 << 63), "9" * 5000])
def test_integers_are_gos(text: str) -> None:
    with pytest.raises(ValueError, match=r"integer|64 bits"):
        parse_int(text)


@pytest.mark.parametrize("text", ["", "nan", "inf", "1e999", "1_0", "x", "1" * 500])
def test_numbers_are_finite_decimals(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|range"):
        parse_float(text)
