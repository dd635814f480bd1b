from __future__ import annotations

import pytest

from gocker.cgroup import values


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("0", "0"), ("0,1", "0-1"), ("3,0-1\n", "0-1,3"), ("0-3,2", "0-3"), ("", ""), ("7,5", "5,7")],
)
def test_cpu_set_is_canonical(text: str, canonical: str) -> None:
    assert values.cpu_set(text) == canonical


def test_a_word_is_no_cpu_set() -> None:
    with pytest.raises(ValueError, match="all"):
        values.cpu_set("all")


@pytest.mark.parametrize(
    ("requested", "kept"), [(0, 0), (4095, 0), (4096, 4096), (10_000, 8192), (-1, -1)]
)
@pytest.mark.skipif(values.PAGE_SIZE != 4096, reason="figures for 4 KiB pages")
def test_memory_is_kept_in_whole_pages(requested: int, kept: int) -> None:
    assert values.whole_pages(requested) == kept


def test_the_largest_memory_limit_is_none() -> None:
    assert values.v1_bytes(f"{values.MEMORY_UNLIMITED}\n") == -1
    assert values.whole_pages(2**63 - 1) == -1


def test_max_is_minus_one() -> None:
    assert values.number("max\n") == -1


def test_words_of_cpu_max() -> None:
    assert (values.first_word("max 5000\n"), values.second_word("max 5000\n")) == (-1, 5000)


@pytest.mark.parametrize("text", ["default 200\n8:0 50\n", "200\n"])
def test_weight_of_both_schedulers(text: str) -> None:
    assert values.weight(text) == 200


def test_device_line_of_v1_and_v2() -> None:
    assert values.device_line("8:16")("8:0 5\n8:16 77\n") == 77
    assert values.device_line("8:16")("8:0 5\n") == 0
    text = "8:16 rbps=2097152 wbps=max riops=max wiops=120\n"
    assert values.device_line("8:16", "rbps")(text) == 2_097_152
    assert values.device_line("8:16", "wbps")(text) == -1
    assert values.device_line("8:0", "rbps")(text) == -1
