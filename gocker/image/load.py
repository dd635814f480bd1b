"""Reads all images of an archive or a layout, with the names that they have there."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager

from gocker.errors import HostError, PlanError
from gocker.image import document as doc
from gocker.image import files as files_of
from gocker.image import source as sources
from gocker.image.document import wrong
from gocker.image.reference import parse_name
from gocker.image.transfer import Wanted, bring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from gocker.image.files import Files
    from gocker.image.limits import Limits
    from gocker.image.progress import Progress
    from gocker.image.source import Source
    from gocker.image.store import Store
    from gocker.image.unpacked import Ref


@contextmanager
def spooled(store: Store, path: str) -> Iterator[str]:
    """Give a path of what ``-``, standard input, has; any other path is given as it is."""
    if path != "-":
        yield path
        return
    flags = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
    fd = os.open(".", flags, 0o600, dir_fd=store.directory("partial"))
    try:
        while data := os.read(0, 1 << 20):
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        yield f"/proc/self/fd/{fd}"
    except OSError as error:
        raise HostError(f"cannot read standard input: {error.strerror}") from error
    finally:
        os.close(fd)


def load(store: Store, path: str, limits: Limits, progress: Progress) -> list[Ref]:
    """Bring all images of an archive or a layout into the store; return their names.

    Raises:
        HostError: if it is neither, or an image is not sound.
    """
    with ExitStack() as stack:
        path = stack.enter_context(spooled(store, path))
        files: Files
        if os.path.isdir(path):
            files = files_of.Directory(path)
        else:
            files = files_of.TarFiles(path, store.directory("partial"))
        stack.callback(files.close)
        found = []
        for source, names in _images(files, path):
            for name in names:
                wanted = Wanted(name, doc.host_platform())
                found.append(bring(store, source, wanted, limits, progress))
        return found


def _images(files: Files, path: str) -> Iterator[tuple[Source, list[str]]]:
    if isinstance(files, files_of.TarFiles) and files.read("manifest.json") is not None:
        yield from _docker(files, path)
    elif files.read("oci-layout") is not None:
        yield from _layout(files, path)
    else:
        raise HostError(
            f"{path!r} is neither a docker archive nor an OCI layout",
            hint="for an archive of files: gocker image import",
        )


def _docker(files: files_of.TarFiles, path: str) -> Iterator[tuple[Source, list[str]]]:
    data = files.read("manifest.json") or b""
    entries = doc.parse_json(b'{"images":%s}' % data, "manifest.json")["images"]
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            source = sources.DockerArchive(files, path, entry=entry)
            yield source, _names(sources.tags(entry), source)


def _layout(files: Files, path: str) -> Iterator[tuple[Source, list[str]]]:
    index = doc.parse_json(files.read("index.json") or b"", "index.json")
    for entry in index.get("manifests") or ():
        if not isinstance(entry, dict):
            raise wrong("its index.json has an entry that is none")
        source = sources.Layout(files, path, entry=entry)
        yield source, _names(sources.names(entry)[:1], source)


def _names(given: list[Any], source: Source) -> list[str]:
    """Return the whole names; an image without a usable one has its digest for a name."""
    found = []
    for text in given:
        try:
            found.append(str(parse_name(text)))
        except PlanError:
            continue
    return list(dict.fromkeys(found)) or [doc.digest_of(source.top()[0])]
