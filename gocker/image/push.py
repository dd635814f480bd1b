"""Pushes an image to a registry: blobs that are not there, then the manifest.

A blob that another repository of the same registry has is mounted and not sent; what is sent
goes in chunks, each tried again from where the registry says it is (distribution-spec, "Pushing
blobs").
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from gocker.errors import HostError, PlanError
from gocker.image import document as doc
from gocker.image.document import wrong
from gocker.image.registry import RefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.image.document import Descriptor
    from gocker.image.progress import Progress
    from gocker.image.reference import Name
    from gocker.image.registry import Client
    from gocker.image.store import Store
    from gocker.image.unpacked import Ref

_SCOPE = "pull,push"
_CHUNK = 16 << 20
_PARALLEL = 4
_TRIES = 5


class _Sent:
    """How far a blob is, for the progress."""

    def __init__(self) -> None:
        self.offset = 0


class Push:
    """One push.

    Args:
        store: where the image is.
        client: of the registry and repository.
        elsewhere: repositories of the same registry that may have some of the blobs.
        progress: told of each blob.
    """

    def __init__(
        self, store: Store, client: Client, elsewhere: dict[str, str], progress: Progress
    ) -> None:
        self._store = store
        self._client = client
        self._elsewhere = elsewhere
        self._progress = progress
        self._base = f"/v2/{client.repository}"

    def image(self, ref: Ref, name: Name) -> str:
        """Push an image; return the digest under which the registry has it.

        Raises:
            HostError: if a blob is not here, or the registry refuses.
        """
        data = self._store.read_document(ref.manifest)
        document = doc.parse_json(data, "manifest")
        media_type = doc.kind(document, "")
        manifest = doc.manifest(document, media_type)
        blobs = {item.digest: item for item in (*manifest.layers, manifest.config)}
        for item in blobs.values():
            self._progress.begin(item.digest, item.size)
        with ThreadPoolExecutor(_PARALLEL) as pool:
            try:
                list(pool.map(self._blob, blobs.values()))
            except BaseException:
                self._progress.cancelled = True
                pool.shutdown(cancel_futures=True)
                raise
        target = name.tag or ref.manifest
        headers = {"Content-Type": media_type}
        path = f"{self._base}/manifests/{target}"
        with self._client.request("PUT", path, scope=_SCOPE, headers=headers, body=data) as answer:
            said = answer.headers.get("Docker-Content-Digest", ref.manifest)
        if said != ref.manifest:
            raise wrong(f"the registry has stored {said}, not {ref.manifest}")
        return ref.manifest

    def _blob(self, blob: Descriptor) -> None:
        if self._progress.cancelled:
            raise HostError("interrupted")
        if not self._is_there(blob):
            location = self._begin(blob)
            if location is not None:
                fd = self._store.open_blob(blob.digest, blob.size)
                if fd is None:
                    raise HostError(f"blob {blob.digest} is not in the store", hint="pull it again")
                try:
                    self._send(location, fd, blob)
                finally:
                    os.close(fd)
        self._progress.done(blob.digest)

    def _is_there(self, blob: Descriptor) -> bool:
        try:
            with self._client.request("HEAD", f"{self._base}/blobs/{blob.digest}", scope=_SCOPE):
                return True
        except RefusedError as error:
            if error.status != 404:
                raise
            return False

    def _begin(self, blob: Descriptor) -> str | None:
        """Begin an upload; return where to, or None if the registry has mounted the blob."""
        path = f"{self._base}/blobs/uploads/"
        other = self._elsewhere.get(blob.digest)
        if other is not None and other != self._client.repository:
            path += f"?mount={blob.digest}&from={other}"
        with self._client.request("POST", path, scope=_SCOPE) as answer:
            return None if answer.status == 201 else self._location(answer)

    def _location(self, answer: Any) -> str:
        location: str = answer.headers.get("Location", "")
        if not location:
            raise HostError("the registry does not say where to send a blob")
        return location

    def _send(self, location: str, fd: int, blob: Descriptor) -> None:
        sent = _Sent()
        self._progress.watch(blob.digest, sent)
        while sent.offset < blob.size:
            location = self._chunk(location, fd, blob, sent)
        joiner = "&" if "?" in location else "?"
        path = f"{location}{joiner}digest={blob.digest}"
        headers = {"Content-Length": "0", "Content-Type": "application/octet-stream"}
        with self._client.request("PUT", path, scope=_SCOPE, headers=headers, body=b""):
            pass

    def _chunk(self, location: str, fd: int, blob: Descriptor, sent: _Sent) -> str:
        """Send the next chunk; return where to send the one after it."""
        for attempt in range(1, _TRIES + 1):
            if self._progress.cancelled:
                raise HostError("interrupted")
            data = os.pread(fd, _CHUNK, sent.offset)
            if not data:
                raise wrong(f"{blob.digest} is shorter than {blob.size} bytes")
            end = sent.offset + len(data) - 1
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Range": f"{sent.offset}-{end}",
            }
            try:
                with self._client.request(
                    "PATCH", location, scope=_SCOPE, headers=headers, body=data, tries=1
                ) as answer:
                    sent.offset = end + 1
                    return self._location(answer)
            except HostError as error:
                may_pass = not isinstance(error, RefusedError) or error.status in (
                    416, 429, 500, 502, 503, 504,
                )  # fmt: skip
                if attempt == _TRIES or not may_pass:
                    raise
                self._client.sleep(attempt)
                location = self._resume(location, sent)
        raise AssertionError  # the last try has returned or raised

    def _resume(self, location: str, sent: _Sent) -> str:
        """Ask how much the registry has; set the offset, return where to go on."""
        with self._client.request("GET", location, scope=_SCOPE) as answer:
            _, _, end = answer.headers.get("Range", "0-0").partition("-")
            sent.offset = int(end) + 1 if end.isdecimal() and int(end) else 0
            return self._location(answer)


def elsewhere(store: Store, name: Name) -> dict[str, str]:
    """Return repositories of the same registry by the digests of blobs that they may have."""
    from gocker.image.collect import blobs_of
    from gocker.image.reference import parse_name

    found: dict[str, str] = {}
    for ref in store.refs():
        try:
            other = parse_name(ref.name)
        except PlanError:
            continue  # the name of a file, or an identifier
        if other.domain == name.domain:
            found |= dict.fromkeys(blobs_of(store, ref), other.path)
    return found
