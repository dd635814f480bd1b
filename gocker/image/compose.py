"""Puts images together: a configuration and layers become a manifest, and are unpacked."""

from __future__ import annotations

import time

from gocker.image import document as doc
from gocker.image.config import config as parse_config
from gocker.image.layers import Unpacker
from gocker.image.unpacked import Ref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.image.document import Descriptor
    from gocker.image.limits import Limits
    from gocker.image.store import Store
    from gocker.image.unpacked import Record

    Json = dict[str, Any]


def now() -> str:
    """Return the time as a configuration has it (RFC 3339)."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Image:
    """An image being made. `document` is its configuration, `layers` its blobs, lowest first."""

    def __init__(self, document: Json, layers: list[Descriptor]) -> None:
        self.document = document
        self.layers = layers
        # Of the newest layer: a build that finds all of them cached is the same image again.
        self.created: str | None = document.get("created")

    @classmethod
    def empty(cls) -> Image:
        """Return an image without a layer: ``FROM scratch``."""
        platform = doc.host_platform()
        return cls({
            "architecture": platform.architecture, "os": platform.os, "config": {},
            "rootfs": {"type": "layers", "diff_ids": []}, "history": [],
        }, [])  # fmt: skip

    @classmethod
    def of(cls, store: Store, manifest: str) -> Image:
        """Return an image of the store, to be changed.

        Raises:
            HostError: if it is not there, or damaged.
        """
        parsed = doc.parse_json(store.read_document(manifest), "manifest")
        found = doc.manifest(parsed, doc.kind(parsed, ""))
        document = doc.parse_json(store.read_document(found.config.digest), "config")
        _complete_history(document, len(found.layers))
        if not isinstance(document.get("config"), dict):
            document["config"] = {}
        return cls(document, list(found.layers))

    @property
    def config(self) -> Json:
        """What containers take from it: Env, Cmd and the rest."""
        found: Json = self.document["config"]
        return found

    def copy(self) -> Image:
        """Return an independent copy."""
        made = Image(doc.parse_json(doc.dump(self.document), "config"), list(self.layers))
        made.created = self.created
        return made

    def add_layer(
        self, layer: Descriptor, diff_id: str, created_by: str, created: str | None = None
    ) -> None:
        """Put a layer on top, made at a time (RFC 3339), or now."""
        self.created = created or now()
        self.layers.append(layer)
        self.document["rootfs"]["diff_ids"].append(diff_id)
        self._note(created_by)

    def note(self, created_by: str) -> None:
        """Note a step that made no layer."""
        self._note(created_by, empty_layer=True)

    def _note(self, created_by: str, **more: Any) -> None:
        self.created = self.created or now()
        step = {"created": self.created, "created_by": created_by, **more}
        self.document["history"].append(step)

    def store(self, store: Store, limits: Limits) -> tuple[str, Record]:
        """Store it and unpack its layers; return its manifest's digest and record. Needs the lease.

        Raises:
            HostError: if it cannot be.
        """  # the first line is one sentence
        self.document["created"] = self.created = self.created or now()
        config = doc.dump(self.document)
        checked = parse_config(doc.parse_json(config, "config"))
        described = doc.Descriptor(doc.OCI_CONFIG, store.add_document(config), len(config))
        data = doc.dump({
            "schemaVersion": 2, "mediaType": doc.OCI_MANIFEST, "config": described.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
        })  # fmt: skip
        digest = store.add_document(data)
        manifest = doc.Manifest(doc.OCI_MANIFEST, described, tuple(self.layers))
        with Unpacker(store, manifest, checked, limits) as unpacker:
            record = unpacker.finish(digest)
        return digest, record


def _complete_history(document: Json, layers: int) -> None:
    """Have a step for each layer: archives of files have none, and steps are added behind."""
    history = [step for step in document.get("history") or () if isinstance(step, dict)]
    missing = layers - sum(1 for step in history if not step.get("empty_layer"))
    document["history"] = [{"created_by": "imported"}] * missing + history


def tag(store: Store, name: str, digest: str) -> Ref:
    """Give a manifest of the store a name."""
    ref = Ref(name, digest, digest, time.time())
    store.write_ref(ref)
    return ref
