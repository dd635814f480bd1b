"""The documentation builds as a site, strictly, and no page loads anything from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = (ROOT / ".mkdocs.yml").read_text()


def test_every_page_is_in_the_navigation() -> None:
    pages = {page.name for page in (ROOT / "docs").glob("*.md")}
    assert set(re.findall(r"- (\S+\.md)$", CONFIG, re.MULTILINE)) == pages


def test_the_site_builds_and_is_whole(tmp_path: Path) -> None:
    if find_spec("material") is None:
        pytest.skip("needs the extra docs")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "-q",
        "--strict",
        "-f",
        ".mkdocs.yml",
        "-d",
        tmp_path,
    ]
    environ = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|iframe)[^>]+src="(https?:[^"]+)"', page.read_text())
        loaded += re.findall(r'<link rel="stylesheet" href="(https?:[^"]+)"', page.read_text())
        assert loaded == [], page.name
