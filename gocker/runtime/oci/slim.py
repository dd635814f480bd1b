"""Stand-ins for two modules of the standard library, for this short process alone.

Importing `json` compiles regular expressions, and `signal` makes enumerations: together a quarter
of what ``gocker-oci run`` takes. The runtime needs of the first what its C half does, and of the
second the numbers and calls that its C half has. Whoever needs more (``resources``, signal names)
imports the real ones first.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no stub: a C module
import sys

from gocker.runtime.oci import plainjson


def stand_in() -> None:
    """Let every later ``import json`` and ``import signal`` find the C halves."""
    sys.modules.setdefault("json", plainjson)
    sys.modules.setdefault("signal", _signal)
