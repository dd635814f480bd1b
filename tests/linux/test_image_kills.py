"""C9: commands on the store, killed at any moment; ``python -m tests.long.image_kills`` has 200."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import Gocker
from tests.support.imagestorm import Storm

pytestmark = pytest.mark.root


def test_kills_at_random_moments_leave_a_store_that_verifies(
    gocker: Gocker, tmp_path: Path
) -> None:
    storm = Storm(gocker, tmp_path, seed=1)
    storm.kill(9)
    storm.check()
