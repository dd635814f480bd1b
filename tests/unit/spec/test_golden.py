"""`gocker config --format json` gives the model that the reference gives for the same files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gocker.spec import render
from gocker.spec.load import LoadOptions, load

GOLDEN = Path(__file__).parents[2] / "golden" / "spec"


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.iterdir() if path.is_dir()))
def test_the_model_is_the_reference_s(name: str) -> None:
    directory = GOLDEN / name
    options = json.loads((directory / "options.json").read_text())
    given = LoadOptions(
        [str(directory / file) for file in options.get("files", ())],
        project_name=options.get("project_name"),
        environ={"HOME": "/root", "PATH": "/usr/bin:/bin", **options.get("env", {})},
        cwd=str(directory),
        profiles=options.get("profiles", ()),
        services=options.get("services", ()),
        all_resources=options.get("all", False),
    )
    text = render.json_text(load(given).model, interpolated=True)
    text = text.replace(str(directory.parent / "up"), "DIR/../up").replace(str(directory), "DIR")
    assert json.loads(text) == json.loads((directory / "expected.json").read_text())
