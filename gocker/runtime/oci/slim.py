"""Stand-ins for two modules of the standard library, for this short process alone.

Importing `signal` makes enumerations and `ctypes` types of all kinds: together more than what a
container's start takes. The runtime needs of each what its C
half does. Whoever needs more (``resources``, signal names)
imports the real ones first.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no stub: a C module
import sys

from gocker.linux import plainctypes


def stand_in() -> None:
    """Let every later import of them find the C halves."""
    sys.modules.setdefault("signal", _signal)
    sys.modules.setdefault("ctypes", plainctypes)
