from __future__ import annotations

import pytest

from gocker.report.human import count, duration, safe, safe_output, size


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"),
        (32 << 20, "32 MiB"), ((1 << 20) - 1, "1 MiB"), (10 << 30, "10 GiB"), (1 << 60, "1024 PiB"),
    ],
)  # fmt: skip
def test_size(value: int | None, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (0.0, "0 ms"), (0.0041, "4.1 ms"), (0.123, "123 ms"), (0.9999, "1 s"),
        (1.234, "1.2 s"), (59.9, "60 s"), (59.96, "1m00s"), (125, "2m05s"), (3725, "1h02m"),
    ],
)  # fmt: skip
def test_duration(value: float | None, text: str) -> None:
    assert duration(value) == text


def test_count() -> None:
    assert [count(1, "fork"), count(2, "fork"), count(2, "process", "es")] == [
        "1 fork", "2 forks", "2 processes",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ü 日", "plain ü 日"),
        ("a\x1b[31mred\x1b[0m", "ared"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x1b]52;c;Zm9v\x1b\\b", "ab"),
        ("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
        ("a\x9b2Jb\x9d0;t\x9cc", "abc"),
        ("a\x1bPq#0\x1b\\b", "ab"),
        ("a\x1bcb\x1b(0c", "abc"),
        ("a\u202eb\u2066c\u200fd", "abcd"),
        ("a\nb\r\nc\td\u2028e", "a b c d e"),
        ("a\0\x07\x7f\x85b", "ab"),
        ("a\udcffb", "a?b"),
        ("end\x1b", "end"),
        ("end\x1b]unfinished", "end"),
    ],
)
def test_safe(text: str, expected: str) -> None:
    assert safe(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x1b[1;31mb\x1b[38:5:1mc\x1b[m\td\n", "a\x1b[1;31mb\x1b[38:5:1mc\x1b[m\td\n"),
        ("a\x1b[2Jb\x1b[1Ac\x1b[?25ld\x1b[>4;2me", "abcde"),
        ("a\x1b]0;t\x07b\x9b31mc", "abc"),
        ("a\x1b]never ended\nnext line", "a\nnext line"),
    ],
)
def test_safe_output(text: str, expected: str) -> None:
    assert safe_output(text) == expected
