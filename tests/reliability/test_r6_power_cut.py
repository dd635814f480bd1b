"""R6: what gocker has told is on the disk: a power cut loses no acknowledged result.

100 moments of a batch of 500: ``unshare -m python -m tests.long.power_cut``.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.root


def test_a_power_cut_loses_no_result_that_was_told() -> None:
    command = ["unshare", "-m", sys.executable, "-m", "tests.long.power_cut", "20", "3"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result
    assert result.stdout.endswith("lost 0\n")
