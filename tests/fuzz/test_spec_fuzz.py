from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_a_few_seconds_of_fuzzing_find_nothing(tmp_path: Path) -> None:
    script = Path(__file__).with_name("spec_fuzz.py")
    result = subprocess.run(
        [sys.executable, str(script), "--seconds", "4", "--seed", "7", "--keep", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout
