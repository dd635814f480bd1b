"""Unpacked layers of the store: made once, side by side, shared by every image that has them.

A layer's directory is named after its diff id, ``d-HEX``, where it is the same above whatever
other layers; else after its chain id, ``c-HEX`` (image-spec config.md, "Layer ChainID").
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor

from gocker.digest import hexdigest
from gocker.errors import HostError
from gocker.image.document import wrong
from gocker.image.unpacked import Record, record_file
from gocker.image.unpacking import Workers
from gocker.state.directory import open_private, read_small
from gocker.state.holder import boot_id
from gocker.tree import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any

    from gocker.image.config import Config
    from gocker.image.document import Descriptor, Manifest
    from gocker.image.limits import Limits
    from gocker.image.store import Store

    Meta = dict[str, Any]

_META = "meta.json"
_SYNCED = "synced"
_DEFAULT_ROOT = [0o755, 0, 0]


def chain_ids(diff_ids: tuple[str, ...]) -> list[str]:
    """Return the chain id of each layer: a name for it and all below it."""
    found: list[str] = []
    for diff_id in diff_ids:
        above = f"{found[-1]} {diff_id}" if found else diff_id
        found.append(f"sha256:{hexdigest(above.encode())}" if found else diff_id)
    return found


class Unpacker:
    """Unpacks the layers of one image; needs the store's lease.

    Args:
        store: where the blobs are or will be.
        manifest: the image's.
        config: the image's, checked.
        limits: of each layer.
    """

    def __init__(self, store: Store, manifest: Manifest, config: Config, limits: Limits) -> None:
        if len(manifest.layers) != len(config.diff_ids):
            raise wrong("it has another number of layers than its config")
        self._store = store
        self._manifest = manifest
        self._blobs = manifest.layers
        self._diff_ids = config.diff_ids
        self._chain_ids = chain_ids(config.diff_ids)
        self._config = config
        self._limits = limits
        self._workers = Workers()
        self._pool = ThreadPoolExecutor(min(4, len(os.sched_getaffinity(0))))
        self._futures: dict[int, Future[str | None]] = {}

    def __enter__(self) -> Unpacker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._workers.kill()
        self._pool.shutdown(cancel_futures=kind is not None)
        self._workers.close()

    def have(self, number: int) -> bool:
        """Return whether a layer is unpacked, so that its blob is not needed for it."""
        return self._find(number) is not None

    def begin(self, number: int) -> None:
        """Unpack a layer, whose blob is there now, in the background."""
        self._futures[number] = self._pool.submit(self._first, number)

    def finish(self, digest: str, layer_done: Callable[[int], object] = bool) -> Record:
        """Wait for all layers; return the image's record, which is then in the store.

        Raises:
            HostError: of the first layer that cannot be unpacked.
        """
        names: list[str] = []
        metas: list[Meta] = []
        for number in range(len(self._blobs)):
            if number not in self._futures:
                self.begin(number)
        for number in range(len(self._blobs)):
            name = self._futures[number].result() or self._above(number, names)
            names.append(name)
            metas.append(self._meta(name) or {})
            layer_done(number)
        self._sync(names)
        roots = [meta["root"] for meta in metas if meta.get("root")]
        root = roots[-1] if roots and roots[-1] != _DEFAULT_ROOT else None
        facts = {
            "manifest": digest, "image_id": self._manifest.config.digest,
            "layers": names[::-1], "root": root,
            "config": {name: getattr(self._config, name) for name in self._config.__match_args__},
        }  # fmt: skip
        data = json.dumps(facts).encode()
        self._store.write("unpacked", record_file(digest), data)
        record = Record.parse(data)
        assert record is not None  # noqa: S101  # it was made in the line before
        return record

    def _sync(self, names: list[str]) -> None:
        """Have layers on the disk, once for all of them, and then say so in each.

        Until then they count only for this boot: after a power cut they are made again.
        """
        waiting = [name for name in dict.fromkeys(names) if not self._is_synced(name)]
        if not waiting:
            return
        self._workers.mine().sync(self._store.path)
        layers = self._store.directory("layers")
        for name in waiting:
            os.close(os.open(f"{name}/{_SYNCED}", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=layers))
        self._workers.mine().sync(self._store.path)

    def _is_synced(self, name: str) -> bool:
        return os.access(f"{name}/{_SYNCED}", os.F_OK, dir_fd=self._store.directory("layers"))

    # -- one layer -----------------------------------------------------------------------------

    def _names(self, number: int) -> tuple[str, str]:
        diff_id, chain_id = self._diff_ids[number], self._chain_ids[number]
        return f"d-{diff_id.partition(':')[2]}", f"c-{chain_id.partition(':')[2]}"

    def _meta(self, name: str) -> Meta | None:
        """Return what is known of an unpacked layer; None if there is none."""
        try:
            fd = open_private(name, dir_fd=self._store.directory("layers"), make=False)
        except FileNotFoundError:
            return None
        try:
            found = json.loads(read_small(fd, _META) or b"")
        except ValueError:
            return None
        finally:
            os.close(fd)
        if not isinstance(found, dict):
            return None
        return found if found.get("boot") == boot_id() or self._is_synced(name) else None

    def _find(self, number: int) -> str | None:
        own, chained = self._names(number)
        meta = self._meta(own)
        # What hides something would show its whiteouts where there is nothing below.
        if meta is not None and not (number == 0 and meta.get("hides")):
            return own
        return chained if self._meta(chained) is not None else None

    def _first(self, number: int) -> str | None:
        """Unpack a layer by itself; None if it needs those below."""
        return self._find(number) or self._made(number, [])

    def _above(self, number: int, names: list[str]) -> str:
        lower = [self._path(name) for name in reversed(names)]
        name = self._find(number) or self._made(number, lower)
        if name is None:
            raise HostError("a layer needs one below it that is not there")
        return name

    def _path(self, name: str) -> str:
        return os.path.join(self._store.path, "layers", name, "fs")

    def _made(self, number: int, lower: list[str]) -> str | None:
        claim = f"layer-{self._names(number)[0]}"
        with self._store.claim(claim):
            found = self._find(number)  # by whoever held it before
            if found is None:
                try:
                    found = self._unpack(number, claim, lower)
                finally:
                    remove_tree(self._store.directory("partial"), f"{claim}.d")
            # Last: who waits for it takes the unlinked file for "finished".
            self._store.release(claim)
        return found

    def _unpack(self, number: int, claim: str, lower: list[str]) -> str | None:
        partial = self._store.directory("partial")
        remove_tree(partial, f"{claim}.d")  # of one that was killed: we have its lock
        directory = open_private(f"{claim}.d", dir_fd=partial)
        try:
            os.mkdir("fs", 0o755, dir_fd=directory)
            os.chmod("fs", 0o755, dir_fd=directory)  # noqa: S103  # an image's root; above is 0700
            path = os.path.join(self._store.path, "partial", f"{claim}.d", "fs")
            report = self._run(self._blobs[number], path, lower, bottom=number == 0)
            if report.get("needs_parents"):
                return None
            if report["diff_id"] != self._diff_ids[number]:
                raise wrong(
                    f"layer {number + 1} unpacks to {report['diff_id']}, "
                    f"and its config says {self._diff_ids[number]}"
                )
            fd = os.open(_META, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
            with open(fd, "wb") as file:
                file.write(json.dumps({**report, "boot": boot_id()}).encode())
        except OSError as error:
            raise HostError(f"cannot unpack a layer: {error.strerror}") from error
        finally:
            os.close(directory)
        return self._publish(claim, number, positional=report["positional"])

    def _run(self, blob: Descriptor, path: str, lower: list[str], *, bottom: bool) -> Meta:
        fd = self._store.open_blob(blob.digest, blob.size)
        if fd is None:
            raise HostError(f"layer {blob.digest} is not in the store", hint="pull the image again")
        try:
            return self._workers.mine().unpack(fd, path, lower, self._limits, bottom=bottom)
        finally:
            os.close(fd)

    def _publish(self, claim: str, number: int, *, positional: bool) -> str:
        own, chained = self._names(number)
        layers = self._store.directory("layers")
        name = chained if positional or self._meta(own) is not None else own
        if self._meta(name) is None:
            remove_tree(layers, name)  # a damaged one
            os.rename(f"{claim}.d", name, src_dir_fd=self._store.directory("partial"),
                      dst_dir_fd=layers)  # fmt: skip
        return name
