"""What the tests of the OCI command line share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import machine
from tests.support.oci import Runtime


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    """Return the command with a bundle; nothing of its containers may be left afterwards."""
    tmp_path.chmod(0o755)
    made = Runtime(tmp_path)
    try:
        yield made
        assert made.leftovers() == []
        assert [line for line in machine.mountinfo() if str(tmp_path) in line] == []
    finally:
        made.close()
