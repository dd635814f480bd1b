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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

    # Path, mtime in ns, size, whether it is a package; no code for what is no Python.
    Entry = tuple[str, int, int, bool, CodeType | None]


def save(path: str) -> None:
    """Write a file with all that is imported now. Best effort, as pyc files are."""
    if sys.dont_write_bytecode:
        return
    new = f"{path}.{os.getpid()}"
    try:
        data = marshal.dumps((MAGIC_NUMBER, _entries()))
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


def _entries() -> dict[str, Entry]:
    entries = {}
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if spec is None or spec.name != name or name == __name__:
            continue
        if name.partition(".")[0] not in ("encodings", "__main__"):
            entry = _entry(name, spec)
            if entry is not None:
                entries[name] = entry
    return entries


def _entry(name: str, spec: Any) -> Entry | None:
    loader = spec.loader
    if not isinstance(loader, SourceFileLoader | ExtensionFileLoader):
        return None
    found = os.stat(loader.path)
    code = loader.get_code(name) if isinstance(loader, SourceFileLoader) else None
    package = spec.submodule_search_locations is not None
    return loader.path, found.st_mtime_ns, found.st_size, package, code
