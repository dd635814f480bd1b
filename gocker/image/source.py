"""Images in files of this host: OCI layouts, OCI archives, Docker archives, archives of a root.

A source tells its image's document and gives its blobs; `gocker.image.transfer` does the rest,
in the same way for a registry. Nothing here trusts a file: digests are checked where they are
stored, names inside archives are keys of a dict and never paths.
"""

from __future__ import annotations

import hashlib
import os

from gocker.errors import HostError
from gocker.image import document as doc
from gocker.image.document import wrong
from gocker.image.files import GZIP, copy_part, inflate, open_file
from gocker.image.store import CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from gocker.image.document import Descriptor
    from gocker.image.files import Files, TarFiles
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


class Layout:
    """An OCI image layout in a directory or an archive. Source: image-spec image-layout.md."""

    parallel = 2

    def __init__(
        self, files: Files, shown: str, selector: str = "", entry: Json | None = None
    ) -> None:
        self._files = files
        if doc.parse_json(self._files.read("oci-layout") or b"", "oci-layout").get(
            "imageLayoutVersion"
        ) != "1.0.0":  # fmt: skip
            raise HostError(f"{shown} is no OCI image layout of version 1.0.0")
        index = doc.parse_json(files.read("index.json") or b"", "index.json")
        self.entries = [it for it in index.get("manifests") or () if isinstance(it, dict)]
        self._entry = entry or self._selected(selector, shown)

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

    def __init__(
        self, files: TarFiles, shown: str, selector: str = "", entry: Json | None = None
    ) -> None:
        self._files = files
        data = files.read("manifest.json")
        if data is None:
            raise HostError(f"{shown} is no archive of docker save: it has no manifest.json")
        wrapped = doc.parse_json(b'{"images":%s}' % data, "manifest.json")["images"]
        self.entries = [it for it in wrapped if isinstance(it, dict)] if wrapped else []
        self._layers: dict[str, str] = {}
        self._config, layers = self._parts(entry or _image_of(self.entries, selector, shown))
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
            if os.pread(fd, 2, at) == GZIP:
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
        self._fd = open_file(path)
        size = os.fstat(self._fd).st_size
        packed = os.pread(self._fd, 2, 0) == GZIP
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
        copy_part(self._fd, 0, wanted.size, ingest)
