"""From a source into the store: documents first, then layers, each unpacked as soon as it is there.

The name is written last, when everything it stands for is on the disk.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor, as_completed

from gocker.image import document as doc
from gocker.image.config import config as parse_config
from gocker.image.document import wrong
from gocker.image.layers import Unpacker
from gocker.image.store import hash_of
from gocker.image.unpacked import Ref, hold
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures import Future

    from gocker.image.document import Descriptor, Manifest, Platform
    from gocker.image.limits import Limits
    from gocker.image.progress import Progress
    from gocker.image.source import Source
    from gocker.image.store import Store


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to make of a source: its name here, the platform, and a digest that it has to have."""

    name: str
    platform: Platform
    digest: str = ""
    source: tuple[int, ...] = ()


def _verified(source: Source, wanted: Descriptor) -> bytes:
    if wanted.size > doc.MAX_DOCUMENT:
        raise wrong(f"{wanted.digest} claims {wanted.size} bytes")
    data = source.document(wanted)
    if len(data) != wanted.size or hash_of(wanted.digest, data) != wanted.digest:
        raise wrong(f"what came for {wanted.digest} has {len(data)} bytes and is not it")
    return data


def _manifest(store: Store, source: Source, wanted: Wanted) -> tuple[str, str, Manifest]:
    """Store the documents down to a manifest; return its digest, the top's, and the manifest."""
    data, media_type = source.top()
    top = doc.digest_of(data)
    if wanted.digest:
        top = hash_of(wanted.digest, data)
        if top != wanted.digest:
            raise wrong(f"what came for {wanted.digest} is {top}")
    parsed = doc.parse_json(data, "manifest")
    found = doc.kind(parsed, media_type)
    digest = top
    index: tuple[bytes, str] | None = None
    if found in doc.INDEXES:
        index = (data, top)
        chosen = doc.choose(parsed, wanted.platform)
        data, digest = _verified(source, chosen), chosen.digest
        parsed = doc.parse_json(data, "manifest")
        found = doc.kind(parsed, chosen.media_type)
        if found in doc.INDEXES:
            raise wrong("its index leads to another index")
    manifest = doc.manifest(parsed, found)
    store.add_document(data, digest)
    if index is not None:
        store.add_document(*index)
    return digest, top, manifest


def bring(store: Store, source: Source, wanted: Wanted, limits: Limits, progress: Progress) -> Ref:
    """Bring an image into the store and unpack it; return its name there.

    Raises:
        HostError: the source, the image or the disk is at fault. Nothing has a new name then.
    """
    with store.lease():
        digest, top, manifest = _manifest(store, source, wanted)
        held = hold(store.roots, digest)
        if held is None or not all(store.has_blob(it.digest, it.size) for it in manifest.layers):
            _layers(store, source, digest, manifest, limits, progress)
        ref = Ref(wanted.name, top, digest, time.time(), wanted.source)
        store.write_ref(ref)
    return ref


def _layers(
    store: Store, source: Source, digest: str, manifest: Manifest, limits: Limits,
    progress: Progress,
) -> None:  # fmt: skip
    document = _verified(source, manifest.config)
    config = parse_config(doc.parse_json(document, "config"))
    store.add_document(document, manifest.config.digest)
    with Unpacker(store, manifest, config, limits) as unpacker:
        pool = ThreadPoolExecutor(source.parallel)
        try:
            waiting: dict[Future[None], list[int]] = {}
            by_digest: dict[str, list[int]] = {}
            for number, layer in enumerate(manifest.layers):
                by_digest.setdefault(layer.digest, []).append(number)
            for numbers in by_digest.values():
                layer = manifest.layers[numbers[0]]
                progress.begin(layer.digest, layer.size)
                waiting[pool.submit(_fetch, store, source, layer, progress)] = numbers
            for future in as_completed(waiting):
                future.result()
                for number in waiting[future]:
                    unpacker.begin(number)
        except BaseException:
            progress.cancelled = True
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        progress.unpacking()
        unpacker.finish(digest)


def _fetch(store: Store, source: Source, layer: Descriptor, progress: Progress) -> None:
    with store.ingest(layer.digest, layer.size) as ingest:
        if ingest is not None:
            ingest.stopped = lambda: progress.cancelled
            progress.watch(layer.digest, ingest)
            source.fetch(layer, ingest)
            ingest.commit()
    progress.done(layer.digest)
