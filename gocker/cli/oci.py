"""``gocker oci``: become the OCI runtime, which shares nothing with this half of gocker."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_CODE = "import sys; sys.path.insert(0, {root!r}); from gocker.runtime.oci.main import main; main()"


def become(argv: list[str]) -> NoReturn:
    """Execute an interpreter of its own, isolated from PYTHON* variables and site packages."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    command = [sys.executable, "-I", "-S", "-c", _CODE.format(root=root), *argv]
    os.execv(sys.executable, command)  # noqa: S606  # no shell is wanted
