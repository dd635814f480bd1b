"""The fixtures of tests/linux serve here, too."""

from __future__ import annotations

from tests.linux.conftest import gocker, nothing_left, rootfs

__all__ = ["gocker", "nothing_left", "rootfs"]
