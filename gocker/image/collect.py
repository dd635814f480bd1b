"""What of the store is referenced, and the removal of what is not.

Nothing is counted: names lead to manifests, manifests to blobs, records to layers, and what no
chain of these reaches is garbage. A record that a run holds locked is a name, too. Needs the
store for itself; see `gocker.image.store.Store.alone`.
"""

from __future__ import annotations

import fcntl
import json
import os

from gocker.errors import HostError
from gocker.image import document as doc
from gocker.image.unpacked import Record, record_file
from gocker.state.directory import list_names, read_small
from gocker.tree import remove_tree
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gocker.image.store import Store
    from gocker.image.unpacked import Ref


@dataclass(frozen=True, slots=True)
class Removed:
    """What a collection removed: names of blobs and layers, bytes they took on the disk."""

    blobs: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    bytes: int = 0


def blobs_of(store: Store, ref: Ref) -> dict[str, int]:
    """Return the digests that a name leads to, with their sizes; what is missing ends a chain."""
    found: dict[str, int] = {}
    for digest in (ref.digest, ref.manifest):
        fd = store.open_blob(digest)
        if fd is None:
            continue
        found[digest] = os.fstat(fd).st_size
        with open(fd, "rb") as file:
            data = file.read(doc.MAX_DOCUMENT)
        try:
            document = json.loads(data)
        except ValueError:
            continue
        if digest == ref.manifest and isinstance(document, dict):
            for item in (document.get("config"), *(document.get("layers") or ())):
                match item:
                    case {"digest": str(name), "size": int(size)}:
                        found[name] = size
    return found


def _in_use(store: Store, name: str) -> bool:
    """Return whether a run holds a record; a file that is not locked is not used."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC,
                     dir_fd=store.directory("unpacked"))  # fmt: skip
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        # Under the lock, so that nobody begins to use what is about to go.
        os.unlink(name, dir_fd=store.directory("unpacked"))
        return False
    finally:
        os.close(fd)


def records(store: Store) -> list[Record]:
    """Return the records of all unpacked images."""
    fd = store.directory("unpacked")
    found = [Record.parse(read_small(fd, name) or b"") for name in list_names(fd)]
    return [record for record in found if record is not None]


def collect(store: Store) -> Removed:
    """Remove everything that no name and no run needs; return what it was.

    Raises:
        HostError: if something cannot be removed; the rest is as it was.
    """
    keep: dict[str, int] = {}
    wanted = set()
    for ref in store.refs():
        keep |= blobs_of(store, ref)
        wanted.add(record_file(ref.manifest))
    layers: set[str] = set()
    unpacked = store.directory("unpacked")
    for name in list_names(unpacked):
        if name in wanted or _in_use(store, name):
            record = Record.parse(read_small(unpacked, name) or b"")
            layers.update(record.layers if record is not None else ())
    _remove_partial(store)
    gone = _remove_layers(store, layers)
    blobs = _remove_blobs(store, keep)
    _remove_temporary(store)
    remove_tree(store.directory(""), "mounts")  # caches of RUN --mount
    _forget_builds(store)
    sizes = sum(size for _, size in gone) + sum(size for _, size in blobs)
    return Removed(tuple(name for name, _ in blobs), tuple(name for name, _ in gone), sizes)


def _remove_temporary(store: Store) -> None:
    """Remove files that a killed writer never renamed."""
    for directory in ("refs", "unpacked", "cache"):
        fd = store.directory(directory)
        for name in list_names(fd):
            if name.startswith("."):
                os.unlink(name, dir_fd=fd)


def _forget_builds(store: Store) -> None:
    """Remove what is known of layers that are gone."""
    fd = store.directory("cache")
    for name in list_names(fd):
        try:
            digest = doc.checked_digest(json.loads(read_small(fd, name) or b"")["layer"]["digest"])
            gone = not store.has_blob(digest)
        except (ValueError, KeyError, TypeError, HostError):
            gone = True
        if gone:
            os.unlink(name, dir_fd=fd)


def _remove_partial(store: Store) -> None:
    fd = store.directory("partial")
    for name in list_names(fd):
        remove_tree(fd, name)


def _remove_layers(store: Store, keep: Iterable[str]) -> list[tuple[str, int]]:
    fd = store.directory("layers")
    partial = store.directory("partial")
    found = []
    for name in list_names(fd):
        if name not in keep:
            size = layer_bytes(store, name)
            # Out of sight at once, so that a kill leaves no layer with half its files.
            os.rename(name, f"{name}.gone", src_dir_fd=fd, dst_dir_fd=partial)
            remove_tree(partial, f"{name}.gone")
            found.append((name, size))
    return found


def _remove_blobs(store: Store, keep: Iterable[str]) -> list[tuple[str, int]]:
    found = []
    for algorithm in ("sha256", "sha512"):
        fd = store.directory(algorithm)
        for name in list_names(fd):
            if f"{algorithm}:{name}" not in keep:
                found.append((f"{algorithm}:{name}", os.stat(name, dir_fd=fd).st_size))
                os.unlink(name, dir_fd=fd)
    return found


def layer_bytes(store: Store, name: str) -> int:
    """Return the bytes of a layer's archive, about what it takes on the disk."""
    fd = store.directory("layers")
    try:
        layer = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
    except OSError:
        return 0
    try:
        size = json.loads(read_small(layer, "meta.json") or b"{}").get("bytes", 0)
    except (ValueError, AttributeError):
        return 0
    finally:
        os.close(layer)
    return size if isinstance(size, int) else 0


def usage(store: Store) -> tuple[int, int]:
    """Return the bytes of all blobs, and of all unpacked layers."""
    blobs = sum(
        os.stat(name, dir_fd=store.directory(algorithm)).st_size
        for algorithm in ("sha256", "sha512")
        for name in list_names(store.directory(algorithm))
    )
    return blobs, sum(layer_bytes(store, it) for it in list_names(store.directory("layers")))


def prune(store: Store) -> Removed:
    """Collect now.

    Raises:
        HostError: if something is being added to the store.
    """
    with store.alone() as alone:
        if not alone:
            raise HostError(
                "images are being added to the store", hint="prune again when that has finished"
            )
        return collect(store)
