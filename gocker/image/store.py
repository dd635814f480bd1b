"""The store of images below the data root: content-addressed, without a database or a counter.

```
images/
  lock                 who adds to the store holds it shared, who collects garbage exclusively
  blobs/sha256/HEX     manifests, configurations and layers as they came; never changed
  refs/HEX             one JSON file per name; HEX is the name's hash, no name is a path
  unpacked/HEX         one JSON file per manifest whose layers are all unpacked; a run that uses
                       the image holds it locked, shared
  layers/NAME/fs       an unpacked layer, directory of overlays; NAME/meta.json tells of it
  cache/HEX            layers of builds by what they depend on; one that is gone is made again
  partial/NAME         what is being made; whoever makes it holds the file locked
```

Everything is written under another name, synced and renamed, so a crash or a full disk at any
moment leaves what was there, and names in ``partial`` that the next user takes over. What is
referenced is found by following names (`gocker.image.collect`). flock(2) locks die with their
holders.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from contextlib import contextmanager

from gocker.errors import HostError
from gocker.image.document import MAX_DOCUMENT, checked_digest, digest_of, wrong
from gocker.image.unpacked import Ref, ref_file
from gocker.state.directory import list_names, open_private, read_small
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from gocker.state.roots import Roots

_NEW = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
CHUNK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)


def _failed(what: str, error: OSError) -> HostError:
    hint = None
    if error.errno in _FULL:
        hint = "free space in gocker's data root (`gocker image prune`), or set GOCKER_DATA_ROOT"
    return HostError(f"cannot {what}: {error.strerror}", hint=hint)


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes on the disk: of blobs, and of unpacked layers."""

    blobs: int = 0
    layers: int = 0


class Store:
    """The open store. Owns descriptors of its directories; a ``with`` block closes them."""

    def __init__(self, roots: Roots) -> None:
        self.roots = roots
        self.path = os.path.join(roots.data, "images")
        self._fds: dict[str, int] = {"": roots.open_data("images")}
        try:
            for name in ("blobs", "refs", "unpacked", "layers", "partial", "cache"):
                self._fds[name] = open_private(name, dir_fd=self._fds[""])
            for algorithm in ("sha256", "sha512"):
                self._fds[algorithm] = open_private(algorithm, dir_fd=self._fds["blobs"])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptors."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def directory(self, name: str) -> int:
        """Return the descriptor of one of the store's directories, which stays the store's."""
        return self._fds[name]

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Hold the store against the collection of garbage while something is added."""
        fd = os.open("lock", _NEW, 0o600, dir_fd=self._fds[""])
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            yield
        finally:
            os.close(fd)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Give whether nobody adds to the store, and keep it so inside the block."""
        fd = os.open("lock", _NEW, 0o600, dir_fd=self._fds[""])
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(fd)

    # -- blobs ---------------------------------------------------------------------------------

    def blob_path(self, digest: str) -> str:
        """Return a blob's path."""
        algorithm, _, value = checked_digest(digest).partition(":")
        return os.path.join(self.path, "blobs", algorithm, value)

    def open_blob(self, digest: str, size: int | None = None) -> int | None:
        """Return a descriptor of a blob for reading, or None if it is not there.

        With `size`, a blob of another size is none: a power cut can leave such a file.
        """
        algorithm, _, value = checked_digest(digest).partition(":")
        try:
            fd = os.open(value, _READ, dir_fd=self._fds[algorithm])
        except FileNotFoundError:
            return None
        if size is not None and os.fstat(fd).st_size != size:
            os.close(fd)
            return None
        return fd

    def has_blob(self, digest: str, size: int | None = None) -> bool:
        """Return whether a blob is there, with this size."""
        fd = self.open_blob(digest, size)
        if fd is None:
            return False
        os.close(fd)
        return True

    def read_document(self, digest: str) -> bytes:
        """Return a manifest or configuration, verified.

        Raises:
            HostError: if it is missing or damaged.
        """
        fd = self.open_blob(digest)
        if fd is None:
            raise HostError(f"the image's {digest} is not in the store", hint="pull it again")
        with open(fd, "rb") as file:
            data = file.read(MAX_DOCUMENT + 1)
        if len(data) > MAX_DOCUMENT or hash_of(digest, data) != digest:
            raise wrong(
                f"{digest} is not what is stored under it; `gocker image verify` tells more"
            )
        return data

    def add_document(self, data: bytes, digest: str | None = None) -> str:
        """Store a manifest or configuration; return its digest.

        Raises:
            HostError: if it is not what `digest` says, or cannot be written.
        """
        digest = digest or digest_of(data)
        with self.ingest(digest, len(data)) as ingest:
            if ingest is not None:
                ingest.write(data)
                ingest.commit()
        return digest

    @contextmanager
    def ingest(self, digest: str, size: int | None) -> Iterator[Ingest | None]:
        """Give a writer for a blob, or None if it is there, waiting for whoever writes it now."""
        checked_digest(digest)
        if self.has_blob(digest, size):
            yield None
            return
        with self.claim(digest.replace(":", "-")) as fd:
            if self.has_blob(digest, size):
                yield None
                return
            yield Ingest(self, digest, size, fd)

    @contextmanager
    def claim(self, name: str) -> Iterator[int]:
        """Give the file `name` in ``partial``, locked; whoever wants it too waits.

        An unlinked file is nobody's: its holder has finished, and the next one begins anew.
        """
        while True:
            try:
                fd = os.open(name, _NEW, 0o600, dir_fd=self._fds["partial"])
            except OSError as error:
                raise _failed(f"write to {self.path!r}", error) from error
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                if os.fstat(fd).st_nlink:
                    yield fd
                    return
            finally:
                os.close(fd)

    def release(self, name: str) -> None:
        """Remove a claimed name that is not needed any more."""
        try:
            os.unlink(name, dir_fd=self._fds["partial"])
        except FileNotFoundError:
            pass

    # -- names ---------------------------------------------------------------------------------

    def write_ref(self, ref: Ref) -> None:
        """Give a name to an image, taking it from another one that has it."""
        data = json.dumps(
            {"name": ref.name, "digest": ref.digest, "manifest": ref.manifest,
             "made_s": ref.made_s, "source": ref.source}
        ).encode()  # fmt: skip
        self.write("refs", ref_file(ref.name), data)

    def remove_ref(self, name: str) -> bool:
        """Take a name away; return whether it was there."""
        try:
            os.unlink(ref_file(name), dir_fd=self._fds["refs"])
        except FileNotFoundError:
            return False
        return True

    def refs(self) -> list[Ref]:
        """Return all names, sorted."""
        found = []
        for file in list_names(self._fds["refs"]):
            ref = Ref.parse(read_small(self._fds["refs"], file))
            if ref is not None and ref_file(ref.name) == file:
                found.append(ref)
        return sorted(found, key=lambda ref: ref.name)

    def ref(self, name: str) -> Ref | None:
        """Return what a name stands for."""
        ref = Ref.parse(read_small(self._fds["refs"], ref_file(name)))
        return ref if ref is not None and ref.name == name else None

    def write(self, directory: str, name: str, data: bytes) -> None:
        """Write a small file whole: another name, fsync, rename.

        Raises:
            HostError: if it cannot be written; no temporary file is left.
        """
        temporary = f".{os.urandom(8).hex()}"
        fd = self._fds[directory]
        try:
            try:
                file = os.open(temporary, _NEW | os.O_EXCL, 0o600, dir_fd=fd)
                with open(file, "wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
                os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
                os.fsync(fd)
            except BaseException:
                try:
                    os.unlink(temporary, dir_fd=fd)
                except FileNotFoundError:
                    pass
                raise
        except OSError as error:
            raise _failed(f"write to {self.path!r}", error) from error


def hash_of(digest: str, data: bytes) -> str:
    """Return the digest of `data` in the algorithm of another one."""
    algorithm = digest.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


class Ingest:
    """A blob being written. What an interrupted writer left is taken over: see `offset`."""

    def __init__(self, store: Store, digest: str, size: int | None, fd: int) -> None:
        self._store = store
        self.digest = digest
        self.size = size
        self._fd = fd
        self._hash = hashlib.new(digest.partition(":")[0])
        self.offset = 0
        # Whether the writer is to stop; asked at each chunk.
        self.stopped: Callable[[], bool] = bool
        found = os.fstat(fd).st_size
        if size is None or found > size:
            os.ftruncate(fd, 0)
            return
        while data := os.pread(fd, CHUNK, self.offset):
            self._hash.update(data)
            self.offset += len(data)

    def write(self, data: Any) -> None:
        """Append data.

        Raises:
            HostError: if it is more than announced, or cannot be written.
        """
        if self.stopped():
            raise HostError("interrupted")
        if self.size is not None and self.offset + len(data) > self.size:
            self.restart()
            raise wrong(f"{self.digest} is longer than the {self.size} bytes announced")
        self._hash.update(data)
        try:
            view = memoryview(data)
            while view:
                written = os.pwrite(self._fd, view, self.offset)
                self.offset += written
                view = view[written:]
        except OSError as error:
            if error.errno in _FULL:
                self._store.release(self.digest.replace(":", "-"))  # it would fill the disk
            raise _failed(f"write to {self._store.path!r}", error) from error

    def restart(self) -> None:
        """Forget what was written."""
        os.ftruncate(self._fd, 0)
        self.offset = 0
        self._hash = hashlib.new(self.digest.partition(":")[0])

    def commit(self) -> None:
        """Publish the blob under its digest.

        Raises:
            HostError: if it is not what the digest says; it is removed then.
        """
        name = self.digest.replace(":", "-")
        algorithm, _, value = self.digest.partition(":")
        if self.size is not None and self.offset != self.size:
            raise wrong(f"{self.digest} has {self.offset} bytes and not {self.size}")
        if self._hash.hexdigest() != value:
            self._store.release(name)
            raise wrong(f"what came for {self.digest} is {algorithm}:{self._hash.hexdigest()}")
        try:
            os.fchmod(self._fd, 0o400)
            os.fsync(self._fd)
            target = self._store.directory(algorithm)
            os.rename(name, value, src_dir_fd=self._store.directory("partial"), dst_dir_fd=target)
            os.fsync(target)
        except OSError as error:
            raise _failed(f"write to {self._store.path!r}", error) from error
