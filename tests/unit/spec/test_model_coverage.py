"""Every path of the specification's own schema has a row in the table of support."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gocker.spec import support
from gocker.spec.jsonschema import Generator
from gocker.spec.model.base import Model

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


def test_no_row_is_about_a_key_that_does_not_exist() -> None:
    ours = ("jobs", "x-gocker", "services.*.x-gocker")
    keys = [f"{prefix}.{key}" for prefix, keys in support.HONOURED.items() for key in keys.split()]
    rows = [*keys, *support.REFUSED, *support.WARNED, *support.LATER, *support.CHECKED]
    rows = [row.lstrip(".") for row in rows if not row.endswith(".*")]
    assert [row for row in rows if row not in PATHS and not row.lstrip(".").startswith(ours)] == []


def test_harmless_values_belong_to_keys_without_support() -> None:
    assert support.HARMLESS.keys() <= support.REFUSED.keys() | support.LATER.keys()


def test_a_key_has_one_status() -> None:
    keys = [
        f"{prefix}.{key}".lstrip(".")
        for prefix, keys in support.HONOURED.items()
        for key in keys.split()
    ]
    rows = [*keys, *support.REFUSED, *support.WARNED, *support.LATER]
    assert sorted(rows) == sorted(set(rows))


def test_every_field_has_a_row_of_its_own() -> None:
    # Both are made by the models, so they are no keys.
    made = {"Project.ignored", "Matrix.variables"}
    # Keys of a driver's own, of which the specification knows none.
    made |= {f"DriverOptions.{key}" for key in ("type", "o", "device")}
    schema = Generator().schema()
    models = {**schema["definitions"], "Project": schema}
    fields = {
        f"{model.__name__}.{field.alias or name}"
        for model in subclasses(Model)
        if model.__name__ in models
        for name, field in model.model_fields.items()
    }
    keys = {f"{name}.{key}" for name, model in models.items() for key in model["properties"]}
    assert fields - keys == made


def subclasses(kind: type[Model]) -> Iterator[type[Model]]:
    for each in kind.__subclasses__():
        yield each
        yield from subclasses(each)
