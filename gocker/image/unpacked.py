"""What a start reads of the store: a name, and the record of an unpacked image.

Two small files and a lock per image; the rest of the store is not imported for it.
"""

from __future__ import annotations

import fcntl
import json
import os

from gocker.digest import hexdigest
from gocker.errors import HostError
from gocker.state.directory import list_names, read_small
from gocker.values import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.state.roots import Roots

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Ref:
    """What a name stands for.

    `digest` is what was asked for, perhaps an index, `manifest` this host's part of it.
    `made_s`: seconds since 1970; `source`: of a file, what tells whether it has changed.
    """

    name: str
    digest: str
    manifest: str
    made_s: float = 0.0
    source: tuple[int, ...] = ()

    @classmethod
    def parse(cls, data: bytes | None) -> Ref | None:
        """Return what a file in ``refs`` says; None if it is damaged or missing."""
        try:
            found = json.loads(data or b"")
        except (ValueError, RecursionError):
            return None
        match found:
            case {"name": str(name), "digest": str(digest), "manifest": str(manifest),
                  "made_s": float(made_s) | int(made_s), "source": list(source)}:  # fmt: skip
                return cls(name, digest, manifest, float(made_s), tuple(source))
        return None


@dataclass(frozen=True, slots=True)
class Record:
    """An unpacked image.

    `image_id`: the digest of its configuration; `layers`: names of directories of the store,
    topmost first; `root`: mode and owner of the image's root directory; `config`: as
    `gocker.image.config.Config` has it.
    """

    manifest: str
    image_id: str
    layers: tuple[str, ...]
    root: tuple[int, int, int] | None
    config: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes) -> Record | None:
        """Return what a file in ``unpacked`` says; None if it is damaged."""
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            return None
        match found:
            case {"manifest": str(manifest), "image_id": str(image_id), "layers": list(layers),
                  "root": root, "config": dict(config)}:  # fmt: skip
                return cls(manifest, image_id, tuple(layers), tuple(root) if root else None, config)
        return None


def ref_file(name: str) -> str:
    """Return the file of a name in ``refs``: no part of a name is ever a path."""
    return hexdigest(name.encode("utf-8", "surrogateescape"))


def record_file(manifest: str) -> str:
    """Return the file of a manifest in ``unpacked``."""
    return manifest.replace(":", "-")


def source_of(path: str) -> tuple[int, ...]:
    """Return what changes when an archive or a layout does; empty if it is not there."""
    try:
        if os.path.isdir(path):
            path = os.path.join(path, "index.json")
        status = os.stat(path)
    except OSError:
        return ()
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def find_ref(roots: Roots, name: str) -> Ref | None:
    """Return what a name stands for, or None."""
    fd = roots.open_data("images", "refs")
    try:
        ref = Ref.parse(read_small(fd, ref_file(name)))
    finally:
        os.close(fd)
    return ref if ref is not None and ref.name == name else None


def hold(roots: Roots, manifest: str) -> Record | None:
    """Return the record of an unpacked image, None if there is none.

    Its file is locked as long as `roots` is open: no layer of it is removed meanwhile.
    """
    directory = roots.open_data("images", "unpacked")
    try:
        fd = os.open(record_file(manifest), _READ, dir_fd=directory)
    except FileNotFoundError:
        return None
    finally:
        os.close(directory)
    try:
        # Only a collection holds it exclusively, and that removes it.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    with open(os.dup(fd), "rb") as file:
        record = Record.parse(file.read())
    if record is None or not os.fstat(fd).st_nlink or record.manifest != manifest:
        os.close(fd)
        return None
    roots.keep(fd)
    return record


def by_id(roots: Roots, digest: str) -> Record | None:
    """Return the record of an image by the digest of its manifest or of its configuration."""
    found = hold(roots, digest)
    if found is not None:
        return found
    directory = roots.open_data("images", "unpacked")
    try:
        for name in list_names(directory):
            record = Record.parse(read_small(directory, name) or b"")
            if record is not None and record.image_id == digest:
                return hold(roots, record.manifest)
    finally:
        os.close(directory)
    return None


def layer_path(roots: Roots, name: str) -> str:
    """Return the directory of an unpacked layer."""
    return os.path.join(roots.data, "images", "layers", name, "fs")


def missing(shown: str) -> HostError:
    """Return the error for an image that is not here."""
    return HostError(f"image {shown!r} is not here", hint=f"gocker pull {shown}")
