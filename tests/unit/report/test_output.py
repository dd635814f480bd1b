from __future__ import annotations

import errno
import os
import pty
import re
import threading
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gocker.report.output import MAX_LINE, Prefixer, QueueSink, Sink


class Capture(Sink):
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        super().__init__(-1)
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


def prefixed(*chunks: bytes, name: str = "web", **options: bool) -> bytes:
    capture = Capture()
    prefixer = Prefixer(capture, name, **options)
    for chunk in chunks:
        prefixer.feed(chunk)
    prefixer.close()
    return capture.data


def test_every_line_has_its_prefix() -> None:
    assert prefixed(b"a\nb\n\nc\n") == b"web | a\nweb | b\nweb | \nweb | c\n"


def test_a_line_in_pieces_is_written_once_it_is_whole() -> None:
    capture = Capture()
    prefixer = Prefixer(capture, "web")
    prefixer.feed(b"a")
    prefixer.feed(b"b")
    assert capture.data == b""
    prefixer.feed(b"c\nd")
    assert capture.data == b"web | abc\n"


def test_the_last_line_without_a_newline_is_not_lost() -> None:
    assert prefixed(b"a\nlast") == b"web | a\nweb | last\n"


def test_the_streams_do_not_finish_each_others_lines() -> None:
    capture = Capture()
    prefixer = Prefixer(capture, "web")
    prefixer.feed(b"out", 1)
    prefixer.feed(b"err\n", 2)
    prefixer.feed(b"put\n", 1)
    assert capture.data == b"web | err\nweb | output\n"


def test_names_are_filled_up_to_the_width() -> None:
    capture = Capture()
    Prefixer(capture, "web", 6).feed(b"a\n")
    assert capture.data == b"web    | a\n"


def test_without_a_name_there_is_no_prefix() -> None:
    assert prefixed(b"a\nb", name="") == b"a\nb\n"


def test_a_name_cannot_carry_terminal_sequences() -> None:
    assert prefixed(b"a\n", name="w\x1b]0;t\x07eb") == b"web | a\n"


def test_the_prefix_is_coloured_and_the_line_is_not() -> None:
    capture = Capture()
    Prefixer(capture, "web", colour=0).feed(b"a\n")
    assert capture.data == b"\x1b[36mweb | \x1b[0ma\n"


def test_timestamps_come_first() -> None:
    assert re.fullmatch(rb"[-0-9]+T[:0-9.]+Z web \| a\n", prefixed(b"a\n", timestamps=True))


def test_a_line_without_end_does_not_grow_in_memory() -> None:
    capture = Capture()
    prefixer = Prefixer(capture, "")
    for _ in range(40):
        prefixer.feed(b"x" * 10_000)
    assert len(capture.data) > 400_000 - MAX_LINE
    prefixer.close()
    assert capture.data.replace(b"\n", b"") == b"x" * 400_000


@settings(deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_redirected_output_is_the_containers_bytes(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(data)]
    chunks = [data[a:b] for a, b in pairwise(edges)]
    whole = data if data.endswith(b"\n") or not data else data + b"\n"
    assert prefixed(*chunks, name="") == whole
    lines = prefixed(*chunks).split(b"\n")[:-1]
    assert all(line.startswith(b"web | ") for line in lines)
    assert b"".join(line[6:] + b"\n" for line in lines) == whole


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_a_terminal_gets_no_sequence_but_colours(data: bytes) -> None:
    shown = prefixed(b"\x1b[31m" + data, clean=True)
    rest = re.sub(rb"\x1b\[[0-9;:]*m", b"", shown).decode()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", rest)
    assert all(line.startswith("web | ") for line in rest.split("\n")[:-1])


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain\ttext\n", b"web | plain\ttext\n"),
        ("ü 日\n".encode(), "web | ü 日\n".encode()),
        (b"a\r\nb\r\n", b"web | a\nweb | b\n"),
        (b"10%\r20%\r\n", b"web | 10%\nweb | 20%\n"),
        (b"\x1b[31mred\nnext\n", b"web | \x1b[31mred\x1b[0m\nweb | next\x1b[0m\n"),
        (b"a\x1b[2J\x1b]52;c;x\x07\xff\n", "web | a\ufffd\n".encode()),
    ],
)
def test_what_a_terminal_gets(data: bytes, shown: bytes) -> None:
    assert prefixed(data, clean=True) == shown


def test_a_reader_that_left_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    sink = Sink(write)
    sink.write(b"a")
    sink.write(b"b")
    os.close(write)
    assert sink.closed
    assert sink.error is None


def test_a_full_disk_is_remembered() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    sink = Sink(fd)
    sink.write(b"a")
    os.close(fd)
    assert sink.error is not None
    assert sink.error.errno == errno.ENOSPC


def test_a_full_pipe_that_does_not_block_is_waited_for() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    data = os.urandom(1 << 20)
    received = bytearray()

    def drain() -> None:
        while chunk := os.read(read, 1 << 16):
            received.extend(chunk)

    reader = threading.Thread(target=drain)
    reader.start()
    Sink(write).write(data)
    os.close(write)
    reader.join()
    os.close(read)
    assert received == data


def test_a_terminal_is_told_from_a_pipe() -> None:
    master, slave = pty.openpty()
    read, write = os.pipe()
    assert [Sink(slave).isatty(), Sink(write).isatty(), Sink(-1).isatty()] == [True, False, False]
    for fd in (master, slave, read, write):
        os.close(fd)


def fill(sink: QueueSink) -> bytes:
    data = os.urandom(300_000)  # a pipe holds 65536
    for at in range(0, len(data), 10_000):
        sink.write(data[at : at + 10_000])
    return data


def test_a_queue_does_not_wait_for_its_reader() -> None:
    read, write = os.pipe()
    sink = QueueSink(write)
    data = fill(sink)
    assert len(data) - 65536 <= sink.pending < len(data)
    received = b""
    while sink.pending:
        received += os.read(read, 1 << 16)
        sink.pump()
    os.close(write)
    while chunk := os.read(read, 1 << 16):
        received += chunk
    os.close(read)
    assert received == data


def test_flush_writes_what_is_kept() -> None:
    read, write = os.pipe()
    sink = QueueSink(write)
    data = fill(sink)
    received = bytearray()

    def drain() -> None:
        while chunk := os.read(read, 1 << 16):
            received.extend(chunk)

    reader = threading.Thread(target=drain)
    reader.start()
    sink.flush()
    os.close(write)
    reader.join()
    os.close(read)
    assert received == data
    assert sink.pending == 0


def test_a_queue_is_given_up_when_its_reader_leaves() -> None:
    read, write = os.pipe()
    sink = QueueSink(write)
    fill(sink)
    os.close(read)
    sink.pump()
    os.close(write)
    assert (sink.closed, sink.pending, sink.error) == (True, 0, None)
