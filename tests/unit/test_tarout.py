from __future__ import annotations

import io
import os
import tarfile

from hypothesis import given, settings
from hypothesis import strategies as st

from gocker import tar, tarout

NAMES = st.binary(min_size=1, max_size=250).filter(lambda it: b"\0" not in it)


def written(*members: tuple[tar.Member, bytes]) -> bytes:
    out = io.BytesIO()
    writer = tarout.Writer(out.write)
    for member, data in members:
        writer.add(member)
        if data:
            writer.data(data)
    writer.close()
    return out.getvalue()


def made(name: bytes, kind: bytes, link: bytes = b"", **more: int) -> tar.Member:
    member = tarout.member(name, os.stat("/"), kind, link)
    for key, value in more.items():
        setattr(member, key, value)
    return member


@settings(max_examples=60, deadline=None)
@given(
    NAMES,
    NAMES,
    st.binary(max_size=2000),
    st.integers(0, 1 << 31),
    st.integers(-(1 << 60), 1 << 60),
)
def test_our_reader_reads_what_was_written(
    name: bytes, link: bytes, data: bytes, uid: int, mtime_ns: int
) -> None:
    file = made(name, tar.REGULAR, size=len(data), uid=uid, mtime_ns=mtime_ns, mode=0o4755)
    archive = written((file, data), (made(name, tar.SYMLINK, link), b""))
    reader = tar.Reader(io.BytesIO(archive))
    members = iter(reader)
    first = next(members)
    # A name that ends in a slash is a directory's to every reader.
    if not name.endswith(b"/"):
        assert (first.name, first.kind, first.uid) == (name, tar.REGULAR, uid)
        assert (first.mtime_ns, first.mode) == (mtime_ns, 0o4755)
        assert b"".join(chunk for _, chunk in reader.pieces()) == data
    second = next(members)
    assert (second.name, second.kind, second.link) == (name, tar.SYMLINK, link)


def test_others_read_it_too() -> None:
    members = [
        (made(b"d", tar.DIRECTORY), b""),
        (made("d/\u00e4\n".encode(), tar.REGULAR, size=3), b"abc"),
        (made(b"d/" + b"x" * 200, tar.HARD_LINK, b"d/a"), b""),
        (made(b"fifo", tar.FIFO), b""),
    ]
    with tarfile.open(fileobj=io.BytesIO(written(*members))) as archive:
        found = archive.getmembers()
        assert [item.name for item in found] == ["d", "d/\u00e4\n", "d/" + "x" * 200, "fifo"]
        data = archive.extractfile(found[1])
        assert data is not None
        assert data.read() == b"abc"
        assert found[2].islnk()
        assert found[3].isfifo()


def test_a_file_that_becomes_shorter_or_longer_keeps_the_archive_sound() -> None:
    short, long = (made(name, tar.REGULAR, size=1000) for name in (b"short", b"long"))
    archive = written((short, b"abc"), (long, b"x" * 5000), (made(b"end", tar.DIRECTORY), b""))
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        assert [(item.name, item.size) for item in opened] == [
            ("short", 1000), ("long", 1000), ("end", 0),
        ]  # fmt: skip
        data = opened.extractfile("short")
        assert data is not None
        assert data.read() == b"abc" + bytes(997)
