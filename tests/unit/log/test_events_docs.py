from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("options", "file"), [([], "docs/events.md"), (["--schema"], "specs/events.schema.json")]
)
def test_the_published_file_is_what_the_code_prints(options: list[str], file: str) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "gocker.events", *options],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (ROOT / file).read_text() == printed.stdout
