"""What a small spec must not pay for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
from gocker.spec.model import Project
model = {"name": "p", "services": {"a": {"image": "host:/", "command": ["true"]}}}
Project.from_canonical(model, lambda path: None)
print(json.dumps(sorted(sys.modules)))
"""


def loaded() -> set[str]:
    result = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM, str(ROOT)], capture_output=True, check=True
    )
    return set(json.loads(result.stdout))


def test_parts_that_a_spec_does_not_use_are_not_imported() -> None:
    parts = {
        "blkio",
        "deploy",
        "health",
        "jobs",
        "matrix",
        "network",
        "secret",
        "volume",
        "xgocker",
    }
    assert loaded() & {f"gocker.spec.model.{part}" for part in parts} == set()


def test_pydantic_does_not_search_for_plugins() -> None:
    assert "importlib.metadata" not in loaded()
