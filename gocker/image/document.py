"""The JSON documents of images: manifests, indexes, configurations. Read strictly.

A document is what its bytes say, once: no key twice, no other kind than its media type
(CVE-2021-41190), no digest that is not one. Source: OCI image-spec, and Docker's "Image Manifest
V 2, Schema 2", which has the same shape.
"""

from __future__ import annotations

import json
import os

from gocker.digest import hexdigest
from gocker.errors import HostError
from gocker.image.reference import DIGEST
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

MAX_DOCUMENT = 4 << 20  # bytes, as registries accept
MAX_LAYERS = 500  # what overlayfs stacks
_OCI, _DOCKER = "application/vnd.oci.image", "application/vnd.docker.distribution"
OCI_MANIFEST, DOCKER_MANIFEST = f"{_OCI}.manifest.v1+json", f"{_DOCKER}.manifest.v2+json"
OCI_INDEX, DOCKER_INDEX = f"{_OCI}.index.v1+json", f"{_DOCKER}.manifest.list.v2+json"
OCI_CONFIG = f"{_OCI}.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
OCI_LAYER = f"{_OCI}.layer.v1.tar"
OCI_LAYER_GZIP = f"{OCI_LAYER}+gzip"
MANIFESTS, INDEXES = (OCI_MANIFEST, DOCKER_MANIFEST), (OCI_INDEX, DOCKER_INDEX)
_CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)
_LAYERS = {
    OCI_LAYER, OCI_LAYER_GZIP, f"{OCI_LAYER}+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    f"{_OCI}.layer.nondistributable.v1.tar", f"{_OCI}.layer.nondistributable.v1.tar+gzip",
    f"{_OCI}.layer.nondistributable.v1.tar+zstd",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a document says of another blob. `size`: bytes."""

    media_type: str
    digest: str
    size: int

    def to_json(self) -> Json:
        """Return it as OCI writes it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image for one platform."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Platform:
    """``os/architecture/variant``, in Go's words."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def wrong(what: str) -> HostError:
    """Return the error for an image that is not sound."""
    return HostError(f"the image is damaged or hostile: {what}")


def digest_of(data: bytes) -> str:
    """Return the digest of a document."""
    return f"sha256:{hexdigest(data)}"


def checked_digest(value: object) -> str:
    """Return a digest, which may then be part of a path.

    Raises:
        HostError: if it is none.
    """
    if not isinstance(value, str) or not DIGEST.fullmatch(value):
        raise wrong(f"{str(value)[:80]!r} is no digest")
    return value


def _pairs(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise wrong("a key is there twice")
    return found


def parse_json(data: bytes, what: str) -> Json:
    """Return a JSON object.

    Raises:
        HostError: if it is none, has a key twice, or is too long.
    """
    if len(data) > MAX_DOCUMENT:
        raise wrong(f"its {what} has {len(data)} bytes; the most is {MAX_DOCUMENT}")
    try:
        found = json.loads(data, object_pairs_hook=_pairs, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise wrong(f"its {what} is no JSON") from error
    if not isinstance(found, dict):
        raise wrong(f"its {what} is no object")
    return found


def _no_constant(name: str) -> object:
    raise ValueError(name)


def descriptor(value: object, what: str) -> Descriptor:
    """Return a descriptor.

    Raises:
        HostError: if it is none.
    """
    match value:
        case {"mediaType": str(media_type), "digest": digest, "size": int(size)}:
            if isinstance(size, bool) or not 0 <= size < 1 << 50:
                raise wrong(f"the size of its {what} is {size}")
            return Descriptor(media_type, checked_digest(digest), size)
    raise wrong(f"its {what} is not described as it has to be")


def kind(document: Json, media_type: str) -> str:
    """Return the media type of a manifest or an index, the same in and around the document.

    Args:
        document: the parsed one.
        media_type: what a descriptor or a server said; empty if nobody did.

    Raises:
        HostError: if they differ, or the document is both or neither.
    """
    own = document.get("mediaType", "")
    if own and media_type and own != media_type:
        raise wrong(f"it says it is {str(own)[:80]!r}, and it was announced as {media_type!r}")
    found = own or media_type
    has_layers, has_manifests = "layers" in document, "manifests" in document
    if not found:
        found = OCI_INDEX if has_manifests else OCI_MANIFEST
    if (has_layers and has_manifests) or (found in MANIFESTS and has_manifests) or (
        found in INDEXES and has_layers
    ):  # fmt: skip
        raise wrong("it is a manifest and an index at once")
    if found not in MANIFESTS + INDEXES:
        if document.get("schemaVersion") == 1:
            raise HostError(
                "the image has a manifest of Docker's schema 1, which nothing verifies",
                hint="push it again with a tool of this decade",
            )
        raise wrong(f"{str(found)[:80]!r} is no kind of manifest")
    if document.get("schemaVersion") != 2:
        raise wrong("its schemaVersion is not 2")
    return str(found)


def manifest(document: Json, media_type: str) -> Manifest:
    """Return a parsed manifest.

    Raises:
        HostError: if it is none, or of something else than an image.
    """
    config = descriptor(document.get("config"), "config")
    if config.media_type not in _CONFIGS:
        raise HostError(
            f"this is no container image but {config.media_type[:80]!r}",
            hint="an artifact of another kind lies under this name",
        )
    layers = document.get("layers")
    if not isinstance(layers, list) or len(layers) > MAX_LAYERS:
        raise wrong(f"it has no layers, or more than {MAX_LAYERS}")
    found = tuple(descriptor(layer, "layer") for layer in layers)
    for layer in found:
        if layer.media_type not in _LAYERS:
            raise HostError(f"a layer is of the unknown kind {layer.media_type[:80]!r}")
    return Manifest(media_type, config, found)


def host_platform() -> Platform:
    """Return this host's platform."""
    machine = os.uname().machine
    known = {"x86_64": ("amd64", ""), "aarch64": ("arm64", "v8"), "armv7l": ("arm", "v7"),
             "i686": ("386", "")}  # fmt: skip
    return Platform("linux", *known.get(machine, (machine, "")))


def parse_platform(text: str) -> Platform:
    """Return a platform from ``os/arch[/variant]``.

    Raises:
        HostError: if it is none.
    """
    parts = text.split("/")
    if not 2 <= len(parts) <= 3 or not all(parts):
        raise HostError(f"{text!r} is no platform", hint="os/architecture, as linux/amd64")
    known = {"x86_64": "amd64", "aarch64": "arm64"}
    return Platform(parts[0], known.get(parts[1], parts[1]), parts[2] if parts[2:] else "")


def choose(index: Json, wanted: Platform) -> Descriptor:
    """Return the manifest for a platform out of an index.

    Raises:
        HostError: naming the platforms that it has.
    """
    entries = index.get("manifests")
    if not isinstance(entries, list) or len(entries) > 1000:
        raise wrong("its index has no manifests")
    seen: list[str] = []
    best: tuple[int, Descriptor] | None = None
    for entry in entries:
        found = descriptor(entry, "manifest")
        if found.media_type not in MANIFESTS:
            continue
        platform = _platform(entry.get("platform"))
        if platform is None:
            rank = 1  # says nothing: for every platform
        elif not _suits(platform, wanted):
            seen.append(str(platform))
            continue
        else:
            rank = 3 if platform.variant == wanted.variant else 2
        if best is None or rank > best[0]:
            best = (rank, found)
    if best is None:
        has = ", ".join(sorted(set(seen))) or "nothing"
        raise HostError(f"there is no image for {wanted}", hint=f"there is one for: {has}")
    return best[1]


def _suits(platform: Platform, wanted: Platform) -> bool:
    if (platform.os, platform.architecture) != (wanted.os, wanted.architecture):
        return False
    return not wanted.variant or platform.variant in ("", wanted.variant)


def _platform(value: object) -> Platform | None:
    match value:
        case {"os": str(system), "architecture": str(architecture), **rest}:
            if (system, architecture) == ("unknown", "unknown"):
                return Platform("unknown", "unknown")  # an attestation, no image
            variant = rest.get("variant", "")
            return Platform(system, architecture, variant if isinstance(variant, str) else "")
    return None


def dump(value: Json) -> bytes:
    """Return a document's bytes; its digest is theirs."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
