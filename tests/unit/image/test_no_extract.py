"""C2: nothing in gocker unpacks an archive with the standard library, whose filters have holes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
REFUSED = {"extract", "extractall", "extractfile", "unpack_archive", "getmembers", "ZipFile"}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "gocker").rglob("*.py")), ids=lambda path: path.name
)
def test_no_archive_is_unpacked_by_the_standard_library(path: Path) -> None:
    text = path.read_text()
    if "tarfile" not in text and "zipfile" not in text and "shutil" not in text:
        return
    used = {node.attr for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)}
    assert used & REFUSED == set()
