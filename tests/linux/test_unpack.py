"""Unpacking one layer: what is kept, what is refused, what it costs (security.md C2 to C5)."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from gocker.errors import HostError
from gocker.image.unpacking import Worker
from tests.support import images
from tests.support.images import archive, member
from tests.support.unpacking import tree, unpack

pytestmark = pytest.mark.root
GIB = 1 << 30
FILE_CAP = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service=ep
MOST_RSS = 128 << 20


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


def xattr(name: str, value: bytes) -> dict[str, Any]:
    text = value.decode("utf-8", "surrogateescape")
    return {"pax_headers": {f"SCHILY.xattr.{name}": text}}


def everything() -> list[tuple[tarfile.TarInfo, bytes]]:
    """Return an archive with each kind of entry and of metadata."""
    long = ["/".join(["directory-with-a-name-of-some-length"] * depth) for depth in range(1, 9)]
    return [
        member("./", mode=0o751, mtime=1_000_000_000),
        member("d", mode=0o1777, uid=1, gid=2, mtime=1_600_000_000),
        member("d/file", b"content", mode=0o640, uid=70_000, gid=4_000_000_000, mtime=1.5),
        member("d/setuid", b"x", mode=0o6755),
        member("d/nothing", b"", mode=0o000),
        member("d/hard", type=tarfile.LNKTYPE, linkname="d/file"),
        member("link", type=tarfile.SYMTYPE, linkname="/absolute/../d", uid=5, gid=6, mtime=77),
        member("linked", type=tarfile.LNKTYPE, linkname="link"),
        member("fifo", type=tarfile.FIFOTYPE, mode=0o620),
        member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        member("disk", type=tarfile.BLKTYPE, devmajor=259, devminor=70_000, mode=0o660),
        member("capable", b"x", **xattr("security.capability", FILE_CAP)),
        member("noted", b"x", **xattr("user.note", b"a\xff\nb")),
        member("noted-dir", **xattr("user.note", b"dir")),
        member("before-1970", b"x", mtime=-86_400),
        member("un\u00edcode \u2603", b"x"),
        member("s/p/a/r/e", b"x"),
        *(member(name) for name in long),
        member(f"{long[-1]}/file", b"deep"),
        member("d/late", b"x", mtime=1_700_000_000),
    ]  # fmt: skip


def test_everything_is_unpacked_as_umoci_does(worker: Worker, tmp_path: Path) -> None:
    layout = images.Layout(tmp_path / "oci")
    # What is not in the archive has the time of unpacking, here and there.
    entries = [item for item in everything() if not item[0].name.startswith("s/")]
    layout.image([archive(entries)], {}, "all")
    subprocess.run(
        ["umoci", "unpack", "--image", f"{layout.path}:all", str(tmp_path / "bundle")],
        check=True, capture_output=True,
    )  # fmt: skip
    unpack(worker, archive(entries), tmp_path / "ours")
    wanted, found = tree(tmp_path / "bundle/rootfs"), tree(tmp_path / "ours")
    assert len(wanted) > 20
    # umoci writes to the root after it has set its time; ours is the archive's.
    assert found[""][3] == 1_000_000_000 * 10**9
    assert {**found, "": ()} == {**wanted, "": ()}


@pytest.mark.parametrize("sparse", ["gnu", "0.0", "0.1", "1.0"])
def test_sparse_files_have_their_holes(sparse: str, worker: Worker, tmp_path: Path) -> None:
    source = tmp_path / "sparse"
    with source.open("wb") as file:
        file.truncate(10 << 20)
        file.seek(1 << 20)
        file.write(b"a" * 5000)
        file.seek(9 << 20)
        file.write(b"b" * 70_000)
    form = ["--format=gnu"] if sparse == "gnu" else ["--format=pax", f"--sparse-version={sparse}"]
    subprocess.run(["tar", "-cSf", "x.tar", *form, "sparse"], cwd=tmp_path, check=True)
    unpack(worker, (tmp_path / "x.tar").read_bytes(), tmp_path / "out")
    made = tmp_path / "out/sparse"
    assert made.read_bytes() == source.read_bytes()
    assert made.stat().st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress, bytes])
def test_each_compression_gives_the_same_layer(
    compress: Any, worker: Worker, tmp_path: Path
) -> None:
    data = archive(everything())
    report = unpack(worker, compress(data), tmp_path / "out")
    assert report["diff_id"] == images.sha256(data)
    assert (tmp_path / "out/d/file").read_bytes() == b"content"


def test_gzip_in_several_members_is_one_archive(worker: Worker, tmp_path: Path) -> None:
    data = archive([member("f", b"x" * 100_000)])
    packed = gzip.compress(data[:700]) + gzip.compress(data[700:]) + bytes(512)
    assert unpack(worker, packed, tmp_path / "out")["diff_id"] == images.sha256(data)


# -- whiteouts ---------------------------------------------------------------------------------


def whiteout(path: Path) -> bool:
    return path.is_char_device() and path.stat().st_rdev == 0


def test_whiteouts_become_overlays(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    entries = [
        member("d"), member("d/.wh.gone", b""), member("d/.wh..wh..opq", b""),
        member(".wh.top", b""), member(".wh..wh.plnk", b""), member(".wh..wh.plnk/1.2", b""),
    ]  # fmt: skip
    report = unpack(worker, archive(entries), tmp_path / "out", bottom=False)
    assert whiteout(tmp_path / "out/d/gone")
    assert whiteout(tmp_path / "out/top")
    assert os.getxattr(tmp_path / "out/d", "trusted.overlay.opaque") == b"y"
    assert sorted(os.listdir(tmp_path / "out")) == ["d", "top"]
    assert report["hides"]
    assert not report["positional"]


@pytest.mark.parametrize("first", ["file", "whiteout"])
def test_a_whiteout_spares_what_its_own_layer_has(
    first: str, worker: Worker, tmp_path: Path
) -> None:
    entries = [
        [member("d"), member("d/x", b"new"), member("e"), member("e/y", b"new")],
        [member(".wh.d", b""), member("d/.wh.x", b""), member("e/.wh..wh..opq", b"")],
    ]
    if first == "whiteout":
        # A parent comes first, in every archive.
        entries = [[member("e"), entries[1][0], entries[1][2]], entries[0]]
    data = archive([it for part in entries for it in part])
    unpack(worker, data, tmp_path / "out", bottom=False)
    assert (tmp_path / "out/d/x").read_bytes() == b"new"
    assert (tmp_path / "out/e/y").read_bytes() == b"new"
    for name in ("d", "e"):
        assert os.getxattr(tmp_path / "out" / name, "trusted.overlay.opaque") == b"y"


def test_nothing_is_hidden_in_the_lowest_layer(worker: Worker, tmp_path: Path) -> None:
    entries = [member("d"), member("d/.wh.x", b""), member("d/.wh..wh..opq", b"")]
    report = unpack(worker, archive(entries), tmp_path / "out")
    assert os.listdir(tmp_path / "out/d") == []
    assert os.listxattr(tmp_path / "out/d") == []
    assert report["positional"], "elsewhere it has to hide something"


REFUSED = {
    "a whiteout of the parent": [member(".wh...", b"")],
    "a whiteout of nothing": [member(".wh.", b"")],
    "an entry in a whiteout": [member(".wh.a/b", b"x")],
    "the device that is a whiteout": [member("a", type=tarfile.CHRTYPE)],
    "an attribute of overlayfs": [member("a", **xattr("trusted.overlay.redirect", b"/etc"))],
    "an attribute of overlayfs for users": [member("a", **xattr("user.overlay.opaque", b"y"))],
    "a name with a NUL": [member("a", b"x", pax_headers={"path": "a\0b"})],
    "a link with a NUL": [
        member("a", type=tarfile.SYMTYPE, linkname="b", pax_headers={"linkpath": "b\0c"})
    ],
    "a root that is a link": [member("./", type=tarfile.SYMTYPE, linkname="/")],
    "a root that is a file": [member("/", b"x")],
    "a way up": [member("a/../../b", b"x")],
    "a hard link up": [member("a", type=tarfile.LNKTYPE, linkname="../../etc/passwd")],
    "a hard link to a directory": [
        member("d"), member("a", type=tarfile.LNKTYPE, linkname="d")
    ],
    "an unknown type": [member("a", type=b"Z")],
    "a capability that is none": [member("a", b"x", **xattr("security.capability", b"zzz"))],
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_layer_may_have_is_refused(name: str, worker: Worker, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="archive"):
        unpack(worker, archive(REFUSED[name]), tmp_path / "out", bottom=False)


def test_four_members_that_fool_tarfile_change_nothing_outside(
    worker: Worker, tmp_path: Path
) -> None:
    """CVE-2025-4330 and its relatives: a link chain longer than PATH_MAX, then the way out."""
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    outside.chmod(0o600)
    long = "d" * 247
    entries: list[tuple[tarfile.TarInfo, bytes]] = []
    path = ""
    for step in "abcdefghijklmnop":
        entries.append(member(f"{path}{long}"))
        entries.append(member(f"{path}{step}", type=tarfile.SYMTYPE, linkname=long))
        path += f"{step}/"
    entries.append(member(f"{path}{'l' * 254}", type=tarfile.SYMTYPE, linkname="../" * 16))
    entries.append(member("escape", type=tarfile.SYMTYPE, linkname=f"{path}{'l' * 254}/../outside"))
    entries.append(member("hard", type=tarfile.LNKTYPE, linkname="escape"))
    entries.append(member("escape", b"changed", mode=0o755))
    try:
        unpack(worker, archive(entries), tmp_path / "out")
    except HostError:
        pass  # either is well, as long as it stays inside
    assert outside.read_text() == "untouched"
    assert outside.stat().st_mode & 0o777 == 0o600


def test_other_attributes_are_left_out_and_told(worker: Worker, tmp_path: Path) -> None:
    entries = [member("a", b"x", **xattr("security.selinux", b"label")),
               member("b", b"x", **xattr("trusted.other", b"1"))]  # fmt: skip
    report = unpack(worker, archive(entries), tmp_path / "out")
    assert report["dropped"] == {"security.selinux": 1, "trusted.other": 1}
    assert os.listxattr(tmp_path / "out/b") == []


def test_times_out_of_every_range_are_clamped(worker: Worker, tmp_path: Path) -> None:
    entries = [member("a", b"x", mtime=2**62), member("b", b"x", mtime=-(2**62))]
    unpack(worker, archive(entries), tmp_path / "out")
    assert (tmp_path / "out/a").stat().st_mtime > 2**31
    assert (tmp_path / "out/b").stat().st_mtime < 0


# -- bombs -------------------------------------------------------------------------------------


def header(name: bytes, size: int | bytes, kind: bytes = b"0") -> bytes:
    """Return a header that no library would write."""
    field = size if isinstance(size, bytes) else b"%011o\0" % size
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108] = b"0000644\0"
    block[124:136] = field
    block[136:148] = b"00000000000\0"
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(record: bytes) -> bytes:
    data = record.ljust(-(-len(record) // 512) * 512, b"\0")
    return header(b"pax", len(record), b"x") + data


def record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    length += len(str(length + len(str(length))))
    return b"%d %s=%s\n" % (length, key, value)


def zeros(size: int) -> bytes:
    """Return a gzip of an archive with one file of `size` zeros."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9, mtime=0) as file:
        file.write(header(b"zeros", size))
        chunk = bytes(1 << 20)
        for _ in range(size >> 20):
            file.write(chunk)
    return out.getvalue()


def zstd_zeros(size: int) -> bytes:
    machine = zstandard.ZstdCompressor().compressobj()
    chunk = bytes(1 << 20)
    parts = [machine.compress(header(b"z", size))]
    parts += [machine.compress(chunk) for _ in range(size >> 20)]
    return b"".join([*parts, machine.flush()])


def many(count: int) -> bytes:
    out = io.BytesIO()
    headers = b"".join(header(b"f%d" % number, 0) for number in range(10))
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1, mtime=0) as file:
        for _ in range(count // 10):
            file.write(headers)
    return out.getvalue()


def old_sparse(pieces: list[tuple[int, int]], real: int) -> bytes:
    block = bytearray(header(b"s", sum(size for _, size in pieces), b"S"))
    for number, (offset, size) in enumerate(pieces):
        at = 386 + 24 * number
        block[at : at + 24] = b"%011o\0%011o\0" % (offset, size)
    block[483:495] = real.to_bytes(12, "big") if real >= 8**11 else b"%011o\0" % real
    block[483] |= 0x80 if real >= 8**11 else 0
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def frame(window_log: int) -> bytes:
    """Return a zstd frame that asks for a window of 2^`window_log` bytes."""
    return b"\x28\xb5\x2f\xfd\x00" + bytes([(window_log - 10) << 3]) + b"\x01\x00\x00"


# The long version makes them larger: 50 is 10 GiB of zeros and 3 million entries.
SCALE = int(os.environ.get("GOCKER_C5_SCALE", "1"))
BOMBS = {
    "gzip of zeros": lambda: zeros(200 * SCALE << 20),
    "zstd of zeros": lambda: zstd_zeros(200 * SCALE << 20),
    "zstd with a window of 2 GiB": lambda: frame(31),
    "sparse of 8 EiB": lambda: old_sparse([], (1 << 63) - 1),
    "sparse that overlaps": lambda: old_sparse([(512, 512), (0, 512)], 4096) + bytes(1024),
    "millions of entries": lambda: many(60_000 * SCALE),
    "a header of 1 GiB": lambda: header(b"pax", GIB, b"x") + bytes(4096),
    "a long name without end": lambda: header(b"long", 8**11 - 1, b"L"),
    "headers without an entry": lambda: pax(record(b"comment", b"x")) * 1000,
    "a negative size": lambda: header(b"f", b"\xff" * 12),
    "a size in PAX of -1": lambda: pax(record(b"size", b"-1")) + header(b"f", 0),
    "a size in PAX of 1e309": lambda: pax(record(b"size", b"1e309")) + header(b"f", 0),
    "a record without end": lambda: pax(b"99999999999999999999 a=b\n"),
    "a record of length 0": lambda: pax(b"0 a=b\n" * 1000),
    "many keys": lambda: pax(b"".join(record(b"k%d" % n, b"v") for n in range(90_000))),
    "an archive that is none": lambda: b"no archive" * 200,
    "half a gzip": lambda: gzip.compress(archive([member("a", os.urandom(9000))]))[:5000],
    "half a file": lambda: archive([member("a", b"x" * 90_000)])[:40_000],
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_early_and_small(name: str, tmp_path: Path) -> None:
    data = BOMBS[name]()
    begin = time.monotonic()
    worker = Worker()
    try:
        with pytest.raises(HostError):
            unpack(worker, data, tmp_path / "out")
        # Not its ru_maxrss, which begins with that of the process it was spawned from.
        (peak,) = [
            int(line.split()[1])
            for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines()
            if line.startswith("VmHWM:")
        ]
    finally:
        worker.close()
    assert time.monotonic() - begin < 60, "it ends by a limit, not by exhaustion"
    assert peak * 1024 < MOST_RSS


def test_a_small_archive_of_zeros_is_no_bomb(worker: Worker, tmp_path: Path) -> None:
    unpack(worker, zeros(48 << 20), tmp_path / "out")
    assert (tmp_path / "out/zeros").stat().st_size == 48 << 20


def test_limits_can_be_set(worker: Worker, tmp_path: Path) -> None:
    data = archive([member(f"f{n}", b"x") for n in range(20)])
    with pytest.raises(HostError, match="more than 10 entries"):
        unpack(worker, data, tmp_path / "a", entries=10)
    with pytest.raises(HostError, match="more than 4096 bytes"):
        unpack(worker, data, tmp_path / "b", bytes=4096)
    deep = archive([member("/".join("d" * 20))])
    with pytest.raises(HostError, match="20 directories deep"):
        unpack(worker, deep, tmp_path / "c", depth=19)


def test_the_process_that_parses_has_nothing_of_the_host(worker: Worker, tmp_path: Path) -> None:
    """Its root is the layer, and it has six capabilities; seen while it waits for its archive."""
    target = tmp_path / "out"
    target.mkdir()
    read_fd, write_fd = os.pipe()
    from gocker.image.limits import Limits

    message = {
        "op": "unpack", "directory": str(target), "lower": [], "bottom": True,
        "limits": Limits().to_json(), "packed": 0,
    }  # fmt: skip
    worker._send(message, read_fd)  # the archive comes later
    os.close(read_fd)
    try:
        parser = _descendant(worker.pid, 2)
        deadline = time.monotonic() + 20
        while "CapPrm:\t000000008800001b" not in _status(parser):
            assert time.monotonic() < deadline, _status(parser)
            time.sleep(0.01)  # it is on its way there
        assert "NoNewPrivs:\t1" in _status(parser)
        assert os.listdir(f"/proc/{parser}/root") == []
        mounts = Path(f"/proc/{parser}/mountinfo").read_text().splitlines()
        assert len(mounts) == 1
    finally:
        os.write(write_fd, archive([member("a", b"x")]))
        os.close(write_fd)
    assert worker._answer()["entries"] == 1


def _status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def _descendant(pid: int, generations: int) -> int:
    deadline = time.monotonic() + 20
    for _ in range(generations):
        while not (children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            assert time.monotonic() < deadline
            time.sleep(0.01)  # it is being forked
        pid = int(children[0])
    return pid
