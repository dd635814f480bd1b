"""Makes the manual page for the wheel; its parsers need nothing but the standard library."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManualPage(BuildHookInterface[Any]):
    """Adds ``share/man/man1/gocker.1`` to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  # hatchling's
        """Write the page to a file of the build's own."""
        sys.path.insert(0, self.root)
        from gocker.cli.manpage import page

        self._made = tempfile.TemporaryDirectory()
        path = Path(self._made.name, "gocker.1")
        path.write_text(page())
        build_data["shared_data"][str(path)] = "share/man/man1/gocker.1"

    def finalize(self, *_: Any) -> None:
        """Remove it."""
        self._made.cleanup()
