"""Which files, which directory, which environment, which name."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from gocker.errors import UsageError
from gocker.spec.find import normalized

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.unit.spec.conftest import Project

ONE = "services: {one: {image: x}}"
TWO = "services: {two: {image: '${V-unset}'}}"


def found(project: Project, **options: Any) -> list[str]:
    return sorted(project.model(**options)["services"])


@pytest.mark.parametrize(
    "name", ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"]
)
def test_default_names_and_their_override(project: Project, name: str) -> None:
    project.write(name, ONE)
    project.write("compose.override.yaml", TWO)
    assert found(project) == ["one", "two"]


def test_the_first_name_wins_with_a_warning(project: Project) -> None:
    project.write("compose.yaml", ONE)
    project.write("docker-compose.yml", TWO)
    loaded = project.load()
    assert list(loaded.model["services"]) == ["one"]
    assert any("found multiple" in warning for warning in loaded.warnings)


def test_parents_are_searched_and_become_the_directory(project: Project) -> None:
    project.write("compose.yaml", "services: {one: {image: x, volumes: ['./v:/v']}}")
    below = project.directory / "a/b"
    below.mkdir(parents=True)
    loaded = project.load(cwd=str(below))
    assert loaded.working_dir == str(project.directory)
    assert loaded.model["services"]["one"]["volumes"][0]["source"] == str(project.directory / "v")


def test_files_of_the_command_line_have_no_override(project: Project) -> None:
    project.write("compose.yaml", ONE)
    project.write("compose.override.yml", TWO)
    assert found(project, files=["compose.yaml"]) == ["one"]


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"COMPOSE_FILE": "one.yaml:two.yaml"}, ["one", "two"]),
        ({"COMPOSE_FILE": "two.yaml"}, ["two"]),
        ({"COMPOSE_FILE": "one.yaml|two.yaml", "COMPOSE_PATH_SEPARATOR": "|"}, ["one", "two"]),
        ({"GOCKER_FILE": "one.yaml", "COMPOSE_FILE": "two.yaml"}, ["one"]),
    ],
)  # fmt: skip
def test_files_from_the_environment(
    project: Project, env: dict[str, str], expected: list[str]
) -> None:
    project.write("one.yaml", ONE)
    project.write("two.yaml", TWO)
    assert found(project, env=env) == expected


def test_dotenv_may_name_the_files(project: Project) -> None:
    project.write("sub/two.yaml", TWO)
    project.write(".env", "COMPOSE_FILE=sub/two.yaml\nV=cwd")
    project.write("sub/.env", "V=sub")
    assert project.model()["services"]["two"]["image"] == "cwd"


def test_no_file_is_a_usage_error(tmp_path: Path) -> None:
    from gocker.spec.load import LoadOptions, load

    # The root directory: no parent has a file either.
    with pytest.raises(UsageError, match="no configuration file"):
        load(LoadOptions(environ={}, cwd="/proc"))


def test_a_missing_file_is_told(project: Project) -> None:
    error = project.error(files=["gone.yaml"])
    assert "cannot read" in error
    assert "no such file" in error


def test_standard_input(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(b"services: {one: {image: x, volumes: ['./v:/v']}}"))
    monkeypatch.setattr(sys, "stdin", stream)
    loaded = project.load(files=["-"])
    assert loaded.model["services"]["one"]["volumes"][0]["source"] == str(project.directory / "v")


def test_the_project_directory_option(project: Project) -> None:
    project.write("a/compose.yaml", "services: {one: {image: '$V', volumes: ['./v:/v']}}")
    project.write("a/.env", "V=a")
    project.write("b/.env", "V=b")
    model = project.model(files=["a/compose.yaml"], project_directory="b")
    assert model["services"]["one"]["volumes"][0]["source"] == str(project.directory / "b/v")
    assert model["services"]["one"]["image"] == "b"


# --- environment ---


def image(project: Project, **options: Any) -> str:
    project.write("proj/compose.yaml", TWO)
    result: str = project.model(files=["proj/compose.yaml"], **options)["services"]["two"]["image"]
    return result


def test_dotenv_of_the_project_directory_is_used(project: Project) -> None:
    project.write(".env", "V=cwd")
    project.write("proj/.env", "V=proj")
    assert image(project) == "proj"


def test_the_process_wins_even_when_empty(project: Project) -> None:
    project.write("proj/.env", "V=file")
    assert image(project, env={"V": "process"}) == "process"
    project.write("proj/compose.yaml", "services: {two: {image: 'x$V'}}")
    model = project.model(files=["proj/compose.yaml"], env={"V": ""})
    assert model["services"]["two"]["image"] == "x"


def test_named_environment_files_replace_dotenv(project: Project) -> None:
    project.write("proj/.env", "V=dotenv\nW=w")
    project.write("one.env", "A=1\nV=one")
    project.write("two.env", "V=two$A")
    assert image(project, env_files=["one.env"]) == "one"
    assert image(project, env_files=["one.env", "two.env"]) == "two1"
    assert image(project, env={"COMPOSE_ENV_FILES": "one.env,two.env"}) == "two1"
    assert "cannot read env file" in project.error(TWO, env_files=["gone.env"])


def test_dotenv_can_be_switched_off(project: Project) -> None:
    project.write("proj/.env", "V=dotenv")
    assert image(project, env={"COMPOSE_DISABLE_ENV_FILE": "1"}) == "unset"
    assert image(project, env={"COMPOSE_DISABLE_ENV_FILE": "false"}) == "dotenv"
    with pytest.raises(UsageError, match="not a boolean"):
        image(project, env={"COMPOSE_DISABLE_ENV_FILE": "maybe"})


# --- name ---


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("name: file", {}, "file"), ("name: 'CI Run.42'", {}, "cirun42"), ("{}", {}, "my-dir1"),
        ("name: _My_App.V2!/", {}, "my_appv2"), ("name: 'a${V}'", {"env": {"V": "b"}}, "ab"),
        ("name: file", {"env": {"COMPOSE_PROJECT_NAME": "var"}}, "var"),
        ("name: file", {"env": {"GOCKER_PROJECT_NAME": "g", "COMPOSE_PROJECT_NAME": "c"}}, "g"),
        ("name: file", {"project_name": "flag", "env": {"COMPOSE_PROJECT_NAME": "var"}}, "flag"),
        ("name: a\n---\nname: b", {}, "b"), ("name: ''", {}, "my-dir1"),
    ],
)  # fmt: skip
def test_names(project: Project, text: str, options: dict[str, Any], expected: str) -> None:
    project.write("My-Dir.1/compose.yaml", f"services: {{}}\n---\n{text}")
    loaded = project.load(files=["My-Dir.1/compose.yaml"], **{"project_name": None, **options})
    assert loaded.name == expected
    assert loaded.environment["COMPOSE_PROJECT_NAME"] == expected


def test_the_last_file_names_the_project(project: Project) -> None:
    assert project.load(
        "name: a\nservices: {}", "name: b", "services: {}", project_name=None
    ).name == "b"  # fmt: skip


def test_a_name_that_is_not_normal_is_refused_outside_files(project: Project) -> None:
    for options in ({"project_name": "Bad.Name"}, {"env": {"COMPOSE_PROJECT_NAME": "Bad"},
                                                   "project_name": None}):  # fmt: skip
        with pytest.raises(UsageError, match="invalid project name"):
            project.load(ONE, **options)


def test_no_name_is_an_error(project: Project) -> None:
    project.write("___/compose.yaml", ONE)
    assert "must not be empty" in project.error(files=["___/compose.yaml"], project_name=None)


def test_normalizing_twice_changes_nothing() -> None:
    for name in ("CI Run.42", "_-x", "ÄÖ", "a/b", "", "9a"):
        assert normalized(normalized(name)) == normalized(name)
