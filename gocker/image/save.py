"""Writes images into files that others read: OCI layouts and archives, Docker's archives.

The archives are written with Python's ``tarfile``: writing has none of the dangers of reading.
A file is written under another name and renamed when it is whole.
"""

from __future__ import annotations

import io
import os
import tarfile
from contextlib import contextmanager

from gocker.errors import HostError
from gocker.image import document as doc
from gocker.image.files import inflate
from gocker.image.reference import familiar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

    from gocker.image.document import Descriptor, Manifest
    from gocker.image.store import Store
    from gocker.image.unpacked import Ref

FORMATS = ("docker-archive", "oci-archive", "oci")
_REF_NAME = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME = "io.containerd.image.name"
_CHUNK = 1 << 20


def save(store: Store, refs: list[Ref], form: str, path: str) -> None:
    """Write images into `path`, ``-`` being standard output for archives.

    Raises:
        HostError: if a blob is not here, or the file cannot be written; none is left then.
    """
    with store.lease():
        try:
            if form == "oci":
                _Layout(store, refs).directory(path)
                return
            with (
                output(path) as file,
                tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive,
            ):
                if form == "oci-archive":
                    _Layout(store, refs).archive(archive)
                else:
                    _docker(store, refs, archive)
        except OSError as error:
            raise HostError(f"cannot write {path!r}: {error.strerror}") from error


@contextmanager
def output(path: str) -> Iterator[BinaryIO]:
    """Give a file that is there when it is whole; ``-`` is standard output."""
    if path == "-":
        with open(os.dup(1), "wb") as file:
            yield file
        return
    temporary = f"{path}.{os.urandom(4).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o644)
    try:
        with open(fd, "wb") as file:
            yield file
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _manifest(store: Store, ref: Ref) -> tuple[bytes, Manifest]:
    data = store.read_document(ref.manifest)
    document = doc.parse_json(data, "manifest")
    return data, doc.manifest(document, doc.kind(document, ""))


def _open(store: Store, blob: Descriptor) -> int:
    fd = store.open_blob(blob.digest, blob.size)
    if fd is None:
        raise HostError(f"blob {blob.digest} is not in the store", hint="pull the image again")
    return fd


class _Layout:
    """An OCI image layout: ``oci-layout``, ``index.json`` and blobs."""

    def __init__(self, store: Store, refs: list[Ref]) -> None:
        self._store = store
        self._blobs: dict[str, int] = {}
        entries = []
        for ref in refs:
            data, manifest = _manifest(store, ref)
            self._blobs[ref.manifest] = len(data)
            for blob in (*manifest.layers, manifest.config):
                self._blobs[blob.digest] = blob.size
            entry: dict[str, Any] = doc.Descriptor(
                manifest.media_type, ref.manifest, len(data)
            ).to_json()
            _, _, tag = ref.name.rpartition(":")
            if "/" in ref.name and "@" not in ref.name and "/" not in tag:
                entry["annotations"] = {_CONTAINERD_NAME: ref.name, _REF_NAME: ref.name}
            entries.append(entry)
        self._index = doc.dump(
            {"schemaVersion": 2, "mediaType": doc.OCI_INDEX, "manifests": entries}
        )

    def _open(self, digest: str) -> int:
        return _open(self._store, doc.Descriptor("", digest, self._blobs[digest]))

    def archive(self, archive: tarfile.TarFile) -> None:
        """Write it into an archive."""
        _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        for digest, size in self._blobs.items():
            with open(self._open(digest), "rb") as file:
                info = _info(f"blobs/{digest.replace(':', '/')}", size)
                archive.addfile(info, file)
        _add(archive, "index.json", self._index)

    def directory(self, path: str) -> None:
        """Write it into a directory that is not there yet, or is empty."""
        os.makedirs(path, exist_ok=True)
        if os.listdir(path):
            raise HostError(f"{path!r} is not empty", hint="name a new directory")
        for digest, size in self._blobs.items():
            target = os.path.join(path, "blobs", *digest.split(":"))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(self._open(digest), "rb") as file, open(target, "xb") as out:
                left = size
                while left and (done := os.sendfile(out.fileno(), file.fileno(), None, left)):
                    left -= done
        for name, data in (
            ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", self._index),
        ):  # fmt: skip
            with open(os.path.join(path, name), "xb") as out:
                out.write(data)


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    archive.addfile(_info(name, len(data)), io.BytesIO(data))


def _docker(store: Store, refs: list[Ref], archive: tarfile.TarFile) -> None:
    """Write ``manifest.json``, configurations and uncompressed layers, as docker save does."""
    written: set[str] = set()
    entries: dict[str, dict[str, Any]] = {}
    for ref in refs:
        _, manifest = _manifest(store, ref)
        config = store.read_document(manifest.config.digest)
        diff_ids = doc.parse_json(config, "config")["rootfs"]["diff_ids"]
        name = f"{manifest.config.digest.partition(':')[2]}.json"
        layers = [f"{diff_id.partition(':')[2]}.tar" for diff_id in diff_ids]
        for layer, blob in zip(layers, manifest.layers, strict=True):
            if layer not in written:
                written.add(layer)
                _add_layer(store, blob, layer, archive)
        entry = entries.setdefault(name, {"Config": name, "RepoTags": [], "Layers": layers})
        if "@" not in ref.name and not ref.name.startswith("sha256:") and ":/" not in ref.name:
            entry["RepoTags"].append(familiar(ref.name))
        if name not in written:
            written.add(name)
            _add(archive, name, config)
    _add(archive, "manifest.json", doc.dump({"": list(entries.values())})[4:-1])


def _add_layer(store: Store, blob: Descriptor, name: str, archive: tarfile.TarFile) -> None:
    fd = _open(store, blob)
    try:
        size = sum(len(data) for data in inflate(fd))
        archive.addfile(_info(name, size), _Pieces(inflate(fd)))  # type: ignore[arg-type]  # it is only read
    finally:
        os.close(fd)


class _Pieces:
    """What an iterator yields, as a file to read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._rest += piece
        found, self._rest = self._rest[:size], self._rest[size:]
        return found
