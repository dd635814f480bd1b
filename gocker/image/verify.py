"""Whether the store is what its names say: digests of blobs, layers of records.

A container can change a lower layer through a hole of the kernel's page cache alone (Dirty
Pipe); `drop_caches` has the files read from the disk again.
"""

from __future__ import annotations

import hashlib
import os

from gocker.image.collect import blobs_of, records
from gocker.image.store import CHUNK
from gocker.image.unpacked import record_file
from gocker.state.directory import list_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gocker.image.store import Store


def verify(store: Store, *, drop_caches: bool = False) -> Iterator[str]:
    """Yield what is wrong, in words; nothing if all is well."""
    for algorithm in ("sha256", "sha512"):
        fd = store.directory(algorithm)
        for name in list_names(fd):
            if _digest(fd, name, algorithm, drop_caches=drop_caches) != name:
                yield f"blob {algorithm}:{name} has another content"
    known = {record_file(record.manifest) for record in records(store)}
    for ref in store.refs():
        for digest, size in blobs_of(store, ref).items():
            if not store.has_blob(digest, size):
                yield f"{ref.name}: blob {digest} is missing or has another size"
        if record_file(ref.manifest) not in known:
            yield f"{ref.name}: {ref.manifest} is not unpacked"
    for record in records(store):
        for layer in record.layers:
            if not os.path.isdir(os.path.join(store.path, "layers", layer, "fs")):
                yield f"{record.manifest}: layer {layer} is missing"
            elif not os.path.isfile(os.path.join(store.path, "layers", layer, "meta.json")):
                yield f"{record.manifest}: layer {layer} is not complete"


def _digest(directory: int, name: str, algorithm: str, *, drop_caches: bool) -> str:
    digest = hashlib.new(algorithm)
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        if drop_caches:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        while data := os.read(fd, CHUNK):
            digest.update(data)
    finally:
        os.close(fd)
    return digest.hexdigest()
