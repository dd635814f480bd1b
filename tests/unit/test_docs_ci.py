"""The examples of docs/ci.md are what CI systems and make(1) take."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

PAGE = (Path(__file__).parents[2] / "docs" / "ci.md").read_text()


def example(first: str) -> str:
    found: list[str] = re.findall(r"^```\w+\n(.+?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (text,) = [it for it in found if it.startswith(first)]
    return text


def loaded(first: str) -> dict[str, Any]:
    document: dict[str, Any] = YAML(typ="safe", pure=True).load(example(first))
    return document


def test_the_workflow_has_what_github_asks_for() -> None:
    workflow = loaded("# .github")
    assert workflow.keys() <= {"name", "on", "permissions", "jobs", "env", "concurrency"}
    for job in workflow["jobs"].values():
        assert job["runs-on"]
        assert job.keys() <= {"runs-on", "timeout-minutes", "steps", "needs", "strategy"}
        for step in job["steps"]:
            assert len({"uses", "run"} & step.keys()) == 1
            assert step.keys() <= {"uses", "run", "with", "if", "name", "env", "id"}
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"])


def test_the_pipeline_has_what_gitlab_asks_for() -> None:
    pipeline = loaded("# .gitlab-ci.yml")
    for job in pipeline.values():
        assert job.keys() <= {"image", "tags", "timeout", "variables", "script", "artifacts"}
        assert all(isinstance(line, str) for line in job["script"])
        assert job["artifacts"].keys() <= {"when", "paths", "reports", "expire_in"}


def test_the_makefile_is_one(tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("needs make(1)")
    (tmp_path / "Makefile").write_text(example("GOCKER"))
    run = [make, "-n", "test", "test-unit", "clean"]
    made = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert made.splitlines()[:2] == [
        "sudo gocker up ci.yaml --report junit=junit.xml", "sudo gocker up ci.yaml unit",
    ]  # fmt: skip


def test_commands_of_the_examples_are_understood() -> None:
    from gocker.cli.up import parser

    lines = re.findall(r"^.*gocker\)?\"? up (.+)$", PAGE.split("## GitHub")[1], re.MULTILINE)
    assert lines
    for line in lines:
        words = line.replace("$(GOCKER)", "").split()
        parser().parse_args([word for word in words if word != "$*"])
