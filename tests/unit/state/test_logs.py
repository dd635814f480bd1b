from __future__ import annotations

import os
from pathlib import Path

import pytest

from gocker.state.logs import read_logs, tail_offset
from gocker.state.roots import Roots
from gocker.state.run import Run


def write(run: Run, instance: str, content: bytes, attempt: int = 1) -> None:
    fd = run.open_log(instance, attempt)
    os.write(fd, content)
    os.close(fd)


@pytest.fixture
def run(roots: Roots) -> Run:
    run = Run.create(roots, "demo", ())
    write(run, "a", b"1\n2\n3\n")
    write(run, "b", b"x\0\xff")
    write(run, "a", b"again\n", attempt=2)
    return run


def test_every_byte_of_every_container_is_read(run: Run) -> None:
    run.close()
    assert sorted(read_logs(run)) == [
        ("a", 1, b"1\n2\n3\n"), ("a", 2, b"again\n"), ("b", 1, b"x\0\xff"),
    ]  # fmt: skip


def test_only_the_wanted_instances_are_read(run: Run) -> None:
    run.close()
    assert [chunk[0] for chunk in read_logs(run, ["b"])] == ["b"]


def test_tail_is_per_file(run: Run) -> None:
    run.close()
    assert [chunk[2] for chunk in read_logs(run, ["a"], tail=2)] == [b"2\n3\n", b"again\n"]


def test_following_reads_what_is_added_and_ends_with_the_run(run: Run) -> None:
    seen = []
    for instance, _, data in read_logs(run, ["a", "new"], tail=1, follow=True):
        seen.append((instance, data))
        if len(seen) == 2:
            write(run, "a", b"4\n")
            write(run, "new", b"first\nsecond\n")
        if len(seen) == 4:
            run.close()
    assert seen == [
        ("a", b"3\n"), ("a", b"again\n"), ("a", b"4\n"), ("new", b"first\nsecond\n"),
    ]  # fmt: skip


def test_a_link_in_the_place_of_a_log_is_not_shown(run: Run, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    Path(run.log_path("c")).symlink_to(tmp_path / "secret")
    run.close()
    assert "c" not in {chunk[0] for chunk in read_logs(run)}


def test_reading_leaves_no_descriptor(run: Run) -> None:
    run.close()
    before = os.listdir("/proc/self/fd")
    list(read_logs(run))
    assert os.listdir("/proc/self/fd") == before


LONG = b"x" * 70_000


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"a",
        b"a\n",
        b"a\nb",
        b"a\nb\n",
        b"\n\n\n",
        LONG,
        (LONG + b"\n") * 3,
        LONG + b"\nz",
    ],
    ids=len,
)
@pytest.mark.parametrize("lines", [0, 1, 2, 3, 10])
def test_tail_offset_agrees_with_splitting(content: bytes, lines: int, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)
    fd = os.open(path, os.O_RDONLY)
    offset = tail_offset(fd, lines)
    os.close(fd)
    expected = content.splitlines(keepends=True)[-lines:] if lines else []
    assert content[offset:] == b"".join(expected)
