"""``gocker oci``: become the OCI runtime, which shares nothing with this half of gocker."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def become(argv: list[str]) -> NoReturn:
    """Execute an interpreter of its own, isolated from PYTHON* variables and site packages."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    command = [sys.executable, "-I", "-S", f"{package}/runtime/oci/__main__.py", *argv]
    os.execv(sys.executable, command)  # noqa: S606  # no shell is wanted
