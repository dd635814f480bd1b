"""The line that says that a container is ready, in its output."""

from __future__ import annotations

import pytest

from gocker.scheduler.output import Watch


def found(pattern: str, *chunks: bytes | tuple[bytes, int]) -> list[str]:
    lines: list[str] = []
    watch = Watch(pattern, lines.append)
    for chunk in chunks:
        data, stream = chunk if isinstance(chunk, tuple) else (chunk, 1)
        watch.feed(data, stream)
    return lines


@pytest.mark.parametrize(
    "chunks",
    [
        [b"starting\nlistening on :80\n"],
        [b"starting\nlist", b"ening on", b" :80\n"],
        [(b"listen", 1), (b"no\n", 2), (b"ing on :80\n", 1)],
        [b"listening on :80\r\n"],
    ],
)
def test_a_line_is_found_however_it_comes(chunks: list[bytes]) -> None:
    assert found(r"listening on :\d+$", *chunks) == ["listening on :80"]


def test_it_is_found_once() -> None:
    assert found("up", b"up 1\nup 2\n", b"up 3\n") == ["up 1"]


def test_lines_of_two_streams_are_not_mixed() -> None:
    assert found("ab", (b"a", 1), (b"b\n", 2)) == []


def test_half_a_line_is_none_yet() -> None:
    assert found("up", b"up") == []


def test_only_the_beginning_of_a_long_line_counts() -> None:
    assert found("end", b"x" * 5000, b"end\nend\n") == ["end"]
