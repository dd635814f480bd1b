"""Files with names: a directory, or a tar archive read as one. Names are keys, never paths."""

from __future__ import annotations

import os
import zlib

from gocker import tar
from gocker.errors import HostError
from gocker.image import document as doc
from gocker.image.document import wrong
from gocker.image.store import CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gocker.image.store import Ingest

GZIP = b"\x1f\x8b"
_MOST_NAMES = 100_000
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


def open_file(path: str) -> int:
    """Open a file for reading; a FIFO does not make it wait."""
    try:
        return os.open(path, _READ)
    except OSError as error:
        raise HostError(f"cannot read {path!r}: {error.strerror}") from error


def copy_part(fd: int, start: int, size: int, ingest: Ingest) -> None:
    """Write ``size`` bytes of a file from `start` on, less what is there."""
    at, end = start + ingest.offset, start + size
    while at < end:
        data = os.pread(fd, min(CHUNK, end - at), at)
        if not data:
            raise wrong("a file of it is too short")
        ingest.write(data)
        at += len(data)


class Files:
    """Named files with their contents: a directory, or an archive read as one."""

    def read(self, name: str, most: int = doc.MAX_DOCUMENT) -> bytes | None:
        """Return a file's content, None if there is none."""
        raise NotImplementedError

    def copy(self, name: str, ingest: Ingest) -> None:
        """Write a file's content into the store."""
        raise NotImplementedError

    def close(self) -> None:
        """Close what is open."""


class Directory(Files):
    """The files of a directory. `read` and `copy` take only names without links in them."""

    def __init__(self, path: str) -> None:
        self._path = path

    def _open(self, name: str) -> int | None:
        try:
            return os.open(os.path.join(self._path, name), _READ | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise HostError(f"cannot read {name!r} in {self._path!r}: {error.strerror}") from error

    def read(self, name: str, most: int = doc.MAX_DOCUMENT) -> bytes | None:
        """Return a file's content, None if there is none."""
        fd = self._open(name)
        if fd is None:
            return None
        with open(fd, "rb") as file:
            return file.read(most + 1)

    def copy(self, name: str, ingest: Ingest) -> None:
        """Write a file's content into the store."""
        fd = self._open(name)
        if fd is None:
            raise wrong(f"{name!r} is missing")
        try:
            copy_part(fd, 0, ingest.size or os.fstat(fd).st_size, ingest)
        finally:
            os.close(fd)


class _FileStream:
    """A file as the stream of `gocker.tar`, which knows where it is."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.at = 0

    def read(self, size: int) -> bytes:
        data = os.pread(self._fd, size, self.at)
        self.at += len(data)
        return data

    def skip(self, size: int) -> None:
        self.at += size


class TarFiles(Files):
    """The regular files of a tar archive by name; of two with one name the last counts."""

    def __init__(self, path: str, scratch_fd: int) -> None:
        self._fd = _plain(open_file(path), scratch_fd)
        self._places: dict[bytes, tuple[int, int]] = {}
        links: dict[bytes, bytes] = {}
        stream = _FileStream(self._fd)
        size = os.fstat(self._fd).st_size
        for member in tar.Reader(stream):
            name = b"/".join(tar.clean(member.name))
            if member.kind == tar.REGULAR and member.sparse is None:
                if stream.at + member.size > size:
                    raise tar.bad("it ends inside a file")
                self._places[name] = (stream.at, member.size)
            elif member.kind in (tar.SYMLINK, tar.HARD_LINK):
                links[name] = member.link
            if len(self._places) + len(links) > _MOST_NAMES:
                raise tar.bad(f"it has more than {_MOST_NAMES} files")
        for name, link in links.items():
            # Old versions of `docker save` write a layer once and link to it.
            target = os.path.normpath(os.path.join(os.path.dirname(name), link))
            if target in self._places:
                self._places.setdefault(name, self._places[target])

    def close(self) -> None:
        """Close the archive."""
        os.close(self._fd)

    def place(self, name: str) -> tuple[int, int, int]:
        """Return a descriptor of the archive, and where in it a file begins and its size."""
        try:
            at, size = self._places[name.encode("utf-8", "surrogateescape")]
        except (KeyError, UnicodeError) as error:
            raise wrong(f"{name[:80]!r} is missing") from error
        return self._fd, at, size

    def read(self, name: str, most: int = doc.MAX_DOCUMENT) -> bytes | None:
        """Return a file's content, None if there is none."""
        if name.encode("utf-8", "surrogateescape") not in self._places:
            return None
        fd, at, size = self.place(name)
        return os.pread(fd, min(size, most + 1), at)

    def copy(self, name: str, ingest: Ingest) -> None:
        """Write a file's content into the store."""
        fd, at, size = self.place(name)
        copy_part(fd, at, size, ingest)


def _plain(fd: int, scratch_fd: int) -> int:
    """Return a descriptor of an archive without its gzip, in a file without a name."""
    if os.pread(fd, 2, 0) != GZIP:
        return fd
    flags = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
    plain = os.open(".", flags, 0o600, dir_fd=scratch_fd)
    try:
        for data in inflate(fd):
            view = memoryview(data)
            while view:
                view = view[os.write(plain, view) :]
    except OSError as error:
        os.close(plain)
        raise HostError(f"cannot unpack an archive: {error.strerror}") from error
    except BaseException:
        os.close(plain)
        raise
    finally:
        os.close(fd)
    return plain


def inflate(fd: int, ratio: int = 200) -> Iterator[bytes]:
    """Yield the content of a gzip file; of any other, the file's own."""
    at = total = 0
    machine = zlib.decompressobj(31) if os.pread(fd, 2, 0) == GZIP else None
    while data := os.pread(fd, CHUNK, at):
        at += len(data)
        if machine is None:
            yield data
            continue
        while data:
            if machine.eof:
                if not data.startswith(GZIP):
                    data = b""
                    continue
                machine = zlib.decompressobj(31)
            try:
                found = machine.decompress(data, CHUNK)
            except zlib.error as error:
                raise tar.bad(f"gzip: {error}") from error
            data = machine.unconsumed_tail or machine.unused_data
            total += len(found)
            if total > max(64 << 20, at * ratio):
                raise tar.bad(f"it unpacks to more than {ratio} times its size")
            yield found
    if machine is not None and not machine.eof:
        raise tar.bad("the compressed data ends too early")
