"""Images in files of this host: OCI layouts, OCI archives, Docker archives, archives of a root.

A source tells its image's document and gives its blobs; `gocker.image.transfer` does the rest,
in the same way for a registry. Nothing here trusts a file: digests are checked where they are
stored, names inside archives are keys of a dict and never paths.
"""

from __future__ import annotations

import hashlib
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
    from typing import Any, Protocol

    from gocker.image.document import Descriptor
    from gocker.image.store import Ingest

    Json = dict[str, Any]

    class Source(Protocol):
        """Where one image comes from. `parallel`: blobs to fetch at once."""

        parallel: int

        def top(self) -> tuple[bytes, str]:
            """Return the manifest's or index's bytes and its media type, empty if unknown."""
            ...

        def document(self, wanted: Descriptor) -> bytes:
            """Return a manifest or configuration; it is verified by the caller."""
            ...

        def fetch(self, wanted: Descriptor, ingest: Ingest) -> None:
            """Write a blob from ``ingest.offset`` on."""
            ...


_REF_NAME = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME = "io.containerd.image.name"
_GZIP = b"\x1f\x8b"
_MOST_NAMES = 100_000
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


def _open(path: str) -> int:
    try:
        return os.open(path, _READ)
    except OSError as error:
        raise HostError(f"cannot read {path!r}: {error.strerror}") from error


def _copy(fd: int, start: int, size: int, ingest: Ingest) -> None:
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
            _copy(fd, 0, ingest.size or os.fstat(fd).st_size, ingest)
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
        self._fd = _plain(_open(path), scratch_fd)
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
        _copy(fd, at, size, ingest)


def _plain(fd: int, scratch_fd: int) -> int:
    """Return a descriptor of an archive without its gzip, in a file without a name."""
    if os.pread(fd, 2, 0) != _GZIP:
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
    machine = zlib.decompressobj(31) if os.pread(fd, 2, 0) == _GZIP else None
    while data := os.pread(fd, CHUNK, at):
        at += len(data)
        if machine is None:
            yield data
            continue
        while data:
            if machine.eof:
                if not data.startswith(_GZIP):
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


class Layout:
    """An OCI image layout in a directory or an archive. Source: image-spec image-layout.md."""

    parallel = 2

    def __init__(self, files: Files, shown: str, selector: str = "") -> None:
        self._files = files
        if doc.parse_json(self._files.read("oci-layout") or b"", "oci-layout").get(
            "imageLayoutVersion"
        ) != "1.0.0":  # fmt: skip
            raise HostError(f"{shown} is no OCI image layout of version 1.0.0")
        index = doc.parse_json(files.read("index.json") or b"", "index.json")
        self.entries = [it for it in index.get("manifests") or () if isinstance(it, dict)]
        self._entry = self._selected(selector, shown)

    def _selected(self, selector: str, shown: str) -> Json:
        if not selector and len(self.entries) == 1:
            return self.entries[0]
        found = [
            entry for entry in self.entries if selector in (*names(entry), entry.get("digest"))
        ]
        if len(found) != 1:
            known = sorted({name for entry in self.entries for name in names(entry)})
            raise HostError(
                f"{shown} has {len(found) or 'no'} image{'s' * (len(found) != 1)} of that name",
                hint=f"it has: {', '.join(known)[:200] or 'images without a name'}",
            )
        return found[0]

    def top(self) -> tuple[bytes, str]:
        """Return the manifest's or index's bytes and its media type."""
        wanted = doc.descriptor(self._entry, "index.json")
        data = self.document(wanted)
        if doc.digest_of(data) != wanted.digest and wanted.digest.startswith("sha256:"):
            raise wrong(f"{wanted.digest} is {doc.digest_of(data)}")
        return data, wanted.media_type

    def document(self, wanted: Descriptor) -> bytes:
        """Return a manifest or configuration."""
        data = self._files.read(_blob(wanted.digest))
        if data is None:
            raise wrong(f"{wanted.digest} is missing")
        return data

    def fetch(self, wanted: Descriptor, ingest: Ingest) -> None:
        """Write a blob into the store."""
        self._files.copy(_blob(wanted.digest), ingest)


def names(entry: Json) -> list[str]:
    """Return the names that an entry of ``index.json`` has for its image, the longest first."""
    notes = entry.get("annotations")
    notes = notes if isinstance(notes, dict) else {}
    found = [notes.get(_CONTAINERD_NAME), notes.get(_REF_NAME)]
    return [name for name in found if isinstance(name, str)]


def _blob(digest: str) -> str:
    algorithm, _, value = doc.checked_digest(digest).partition(":")
    return f"blobs/{algorithm}/{value}"


class DockerArchive:
    """One image of an archive that ``docker save`` or ``podman save`` wrote.

    Its layers are uncompressed; a manifest is made for them, so its digest is ours. Source:
    moby's image/tarexport.
    """

    parallel = 2

    def __init__(self, files: TarFiles, shown: str, selector: str = "") -> None:
        self._files = files
        data = files.read("manifest.json")
        if data is None:
            raise HostError(f"{shown} is no archive of docker save: it has no manifest.json")
        wrapped = doc.parse_json(b'{"images":%s}' % data, "manifest.json")["images"]
        self.entries = [it for it in wrapped if isinstance(it, dict)] if wrapped else []
        self._layers: dict[str, str] = {}
        self._config, layers = self._parts(_image_of(self.entries, selector, shown))
        self._manifest = self._make_manifest(layers)

    def _parts(self, entry: Json) -> tuple[bytes, list[str]]:
        match entry:
            case {"Config": str(config), "Layers": list(layers)}:
                data = self._files.read(config)
                if data is not None and all(isinstance(layer, str) for layer in layers):
                    return data, layers
        raise wrong("its manifest.json names no config or layers")

    def _make_manifest(self, layers: list[str]) -> bytes:
        rootfs = doc.parse_json(self._config, "config").get("rootfs")
        diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
        if not isinstance(diff_ids, list) or len(diff_ids) != len(layers):
            raise wrong("it has another number of layers than its config")
        described = []
        for diff_id, name in zip(diff_ids, layers, strict=True):
            fd, at, size = self._files.place(name)
            if os.pread(fd, 2, at) == _GZIP:
                kind, digest = doc.OCI_LAYER_GZIP, _hash(fd, at, size)
            else:
                kind, digest = doc.OCI_LAYER, doc.checked_digest(diff_id)
            self._layers[digest] = name
            described.append(doc.Descriptor(kind, digest, size).to_json())
        config = doc.Descriptor(doc.OCI_CONFIG, doc.digest_of(self._config), len(self._config))
        return doc.dump({
            "schemaVersion": 2, "mediaType": doc.OCI_MANIFEST, "config": config.to_json(),
            "layers": described,
        })  # fmt: skip

    def top(self) -> tuple[bytes, str]:
        """Return the manifest that was made."""
        return self._manifest, doc.OCI_MANIFEST

    def document(self, wanted: Descriptor) -> bytes:  # noqa: ARG002  # a Source's
        """Return the configuration."""
        return self._config

    def fetch(self, wanted: Descriptor, ingest: Ingest) -> None:
        """Write a layer into the store."""
        self._files.copy(self._layers[wanted.digest], ingest)


def tags(entry: Json) -> list[str]:
    """Return the names that an entry of ``manifest.json`` has for its image."""
    found = entry.get("RepoTags") or ()
    return [name for name in found if isinstance(name, str)]


def _image_of(entries: list[Json], selector: str, shown: str) -> Json:
    found = [entry for entry in entries if not selector or selector in tags(entry)]
    if len(found) != 1:
        known = ", ".join(sorted({name for entry in entries for name in tags(entry)}))
        raise HostError(
            f"{shown} has {len(found) or 'no'} image{'s' * (len(found) != 1)} of that name",
            hint=f"it has: {known[:200] or 'images without a name'}",
        )
    return found[0]


def _hash(fd: int, at: int, size: int) -> str:
    digest = hashlib.sha256()
    end = at + size
    while at < end and (data := os.pread(fd, min(CHUNK, end - at), at)):
        digest.update(data)
        at += len(data)
    return f"sha256:{digest.hexdigest()}"


class RootArchive:
    """A tar archive of a root file system, as an image of one layer without a configuration."""

    parallel = 1

    def __init__(self, path: str, config: Json | None = None) -> None:
        self._fd = _open(path)
        size = os.fstat(self._fd).st_size
        packed = os.pread(self._fd, 2, 0) == _GZIP
        digest = hashlib.sha256()
        for data in inflate(self._fd):
            digest.update(data)
        diff_id = f"sha256:{digest.hexdigest()}"
        blob = _hash(self._fd, 0, size) if packed else diff_id
        kind = doc.OCI_LAYER_GZIP if packed else doc.OCI_LAYER
        self._layer = doc.Descriptor(kind, blob, size)
        platform = doc.host_platform()
        self._config = doc.dump({
            "architecture": platform.architecture, "os": platform.os, "config": config or {},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        })  # fmt: skip

    def close(self) -> None:
        """Close the archive."""
        os.close(self._fd)

    def top(self) -> tuple[bytes, str]:
        """Return a manifest of the one layer."""
        config = doc.Descriptor(doc.OCI_CONFIG, doc.digest_of(self._config), len(self._config))
        return doc.dump({
            "schemaVersion": 2, "mediaType": doc.OCI_MANIFEST, "config": config.to_json(),
            "layers": [self._layer.to_json()],
        }), doc.OCI_MANIFEST  # fmt: skip

    def document(self, wanted: Descriptor) -> bytes:  # noqa: ARG002  # a Source's
        """Return the configuration."""
        return self._config

    def fetch(self, wanted: Descriptor, ingest: Ingest) -> None:
        """Write the layer into the store."""
        _copy(self._fd, 0, wanted.size, ingest)
