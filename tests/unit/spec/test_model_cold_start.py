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
from gocker.spec.model import load
extension = {"retry": 2, "timeout": "1m", "matrix": {"A": ["1"]}} if sys.argv[2] == "load" else {}
model = {"name": "p", "services": {"a": {"command": ["true"], "x-gocker": extension or None}}}
if sys.argv[2] == "models":
    from gocker.spec.model import Project
    load = Project.from_canonical
load(model, lambda path: None)
print(json.dumps(sorted(sys.modules)))
"""


def loaded(way: str) -> set[str]:
    command = [sys.executable, "-I", "-c", PROGRAM, str(ROOT), way]
    return set(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))


def test_a_spec_without_mistakes_needs_no_pydantic() -> None:
    costly = {"pydantic", "pydantic_core", "dataclasses", "inspect", "difflib"}
    assert loaded("load") & costly == set()


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
    assert loaded("models") & {f"gocker.spec.model.{part}" for part in parts} == set()


def test_pydantic_does_not_search_for_plugins() -> None:
    assert "importlib.metadata" not in loaded("models")
