"""The end of all imports, before an image's root is entered."""

from __future__ import annotations

import codecs
import sys
from _frozen_importlib import BuiltinImporter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def forget_imports() -> None:
    """Make every further import an error.

    A child that has entered an image's root, in memory that may be ours, would take the module
    from there (CVE-2019-14271 in Python's form). All that is needed is loaded by now, but for
    codecs, which Python loads when a file is opened with them.
    """
    for name in ("ascii", "utf-8"):
        codecs.lookup(name)
    # What imports from memory may stay.
    kept: list[Any] = [finder for finder in sys.meta_path if hasattr(finder, "stay_in_memory")]
    for finder in kept:
        finder.stay_in_memory()
    sys.meta_path[:] = [*kept, BuiltinImporter] if kept else []
    sys.path.clear()
    sys.path_importer_cache.clear()
