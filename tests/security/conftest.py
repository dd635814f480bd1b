"""What the tests of the security catalogue share: the command, an image, and a compiled probe.

Each test's name begins with the catalogue's id: ``python -m tests.security.table`` makes the table
of docs/security.md from them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.linux.conftest import gocker as gocker
from tests.linux.conftest import nothing_left as nothing_left
from tests.linux.conftest import rootfs as rootfs
from tests.support import seccomp_table


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a static program that makes single system calls: tests/support/syscall_probe.c."""
    return seccomp_table.compile_probe(tmp_path_factory.mktemp("probe"))
