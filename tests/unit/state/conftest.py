from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gocker.state.roots import Roots


@pytest.fixture
def roots(tmp_path: Path) -> Iterator[Roots]:
    with Roots(str(tmp_path / "data"), str(tmp_path / "live")) as opened:
        yield opened
