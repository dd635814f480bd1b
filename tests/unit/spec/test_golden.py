"""`gocker config --format json` gives the model that the reference gives for the same files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gocker.cli.main import run
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


def test_the_command_prints_it_and_warns_of_what_up_refuses(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("name: p\nservices: {a: {image: x, ports: ['80:80'], gpus: all}}\n")
    assert run(["config", "--format", "json", str(file)]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["services"]["a"]["ports"][0]["published"] == "80"
    assert f"warning: {file}:2:" in err
    assert run(["config", "-q", str(file)]) == 2
