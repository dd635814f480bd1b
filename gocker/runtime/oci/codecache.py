"""The code of all modules that a command imports, in one file beside the modules' own.

Importing sixty modules one by one takes a third of what starting a container does: for each of
them Python looks through directories, opens a file, reads it. The file here is what Python's own
``__pycache__`` files are: the same code, in the same directory, made by whoever may write there,
good as long as each source has the time and size that it had. Without it, or where something is
amiss with it, modules are imported as always. `__main__` reads it.
"""

from __future__ import annotations

import marshal
import os
import sys
from _frozen_importlib_external import MAGIC_NUMBER, ExtensionFileLoader, SourceFileLoader

from gocker.runtime.oci import boot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # Path, mtime in ns, size, whether it is a package; where its code is, nowhere for what is
    # no Python.
    Entry = tuple[str, int, int, bool, int, int]


def save(path: str) -> None:
    """Write a file with all that is imported now. Best effort, as pyc files are."""
    if sys.dont_write_bytecode:
        return
    new = f"{path}.{os.getpid()}"
    try:
        codes = bytearray()
        index = _index(codes)
        data = marshal.dumps((MAGIC_NUMBER, index, len(codes))) + codes
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            with open(fd, "wb") as file:
                file.write(data)
            os.rename(new, path)
        except BaseException:
            os.unlink(new)
            raise
    except (OSError, ImportError, ValueError):
        return


def _index(codes: bytearray) -> dict[str, Entry]:
    """Return what there is to know of each module; append its code to `codes`."""
    index = {}
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if spec is None or spec.name != name or name == __name__:
            continue
        if name.partition(".")[0] not in ("encodings", "__main__"):
            found = _find(name, spec)
            if found is None:
                continue
            path, code, package = found
            status = os.stat(path)
            start = len(codes)
            codes += code
            index[name] = (path, status.st_mtime_ns, status.st_size, package, start,
                           len(codes) if code else 0)  # fmt: skip
    return index


def _find(name: str, spec: Any) -> tuple[str, bytes, bool] | None:
    loader = spec.loader
    package = spec.submodule_search_locations is not None
    if isinstance(loader, ExtensionFileLoader):
        return loader.path, b"", package
    if isinstance(loader, boot.Cached):
        loader = SourceFileLoader(name, spec.origin)
    if not isinstance(loader, SourceFileLoader):
        return None
    return loader.path, marshal.dumps(loader.get_code(name)), package
