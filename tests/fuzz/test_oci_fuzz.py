from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.root
def test_mutated_configurations_end_in_an_error_or_a_container(tmp_path: Path) -> None:
    script = Path(__file__).with_name("oci_fuzz.py")
    result = subprocess.run(
        [sys.executable, str(script), "--seconds", "6", "--seed", "7"],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
    assert " 0 ran" not in result.stdout
