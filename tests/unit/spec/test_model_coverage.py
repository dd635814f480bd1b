"""Every path of the specification's own schema has a row in the table of support."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gocker.spec import support

SCHEMA = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
TREE = support.tree()


def paths(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield the pattern of every key that a schema allows; maps of plain values are leaves."""
    while "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    for kind in schema.get("oneOf", []):
        yield from paths(kind, path)
    for key, value in schema.get("properties", {}).items():
        below = f"{path}.{key}" if path else key
        yield below
        yield from paths(value, below)
    for pattern, value in schema.get("patternProperties", {}).items():
        if pattern != "^x-":
            yield from (below for below in paths(value, f"{path}.*"))
    if isinstance(schema.get("items"), dict):
        yield from paths(schema["items"], f"{path}[]")


PATHS = sorted(set(paths(SCHEMA)))


def test_the_walk_sees_the_whole_schema() -> None:
    assert (
        len([path for path in PATHS if path.startswith("services.*.") and path.count(".") == 2])
        == 93
    )
    assert len(PATHS) >= 340


@pytest.mark.parametrize("path", PATHS)
def test_every_path_has_a_row(path: str) -> None:
    assert support.find(TREE, path) is not None
