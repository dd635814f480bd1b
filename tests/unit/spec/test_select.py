"""Profiles, the choice of services, and what is dropped."""

from __future__ import annotations

from typing import Any

import pytest

from gocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.unit.spec.conftest import Project

TEXT = """
services:
  web: {image: x, depends_on: [db], networks: [front], volumes: ['v:/v']}
  db: {image: x, networks: [back], secrets: [s]}
  test: {image: x, profiles: [ci, all], depends_on: [web]}
  debug: {image: x, profiles: [debug], configs: [c], env_file: gone.env}
  test-a: {image: x, profiles: [ci]}
networks: {front: {}, back: {}, unused: {}}
volumes: {v: {}, unused: {}}
secrets: {s: {environment: S}, unused: {environment: U}}
configs: {c: {content: x}}
"""


def names(project: Project, **options: Any) -> list[str]:
    return sorted(project.model(TEXT, **options)["services"])


@pytest.mark.parametrize(
    ("profiles", "env", "expected"),
    [
        ([], {}, ["db", "web"]), (["ci"], {}, ["db", "test", "test-a", "web"]),
        ([], {"COMPOSE_PROFILES": "all, x"}, ["db", "test", "web"]),
        (["all"], {"COMPOSE_PROFILES": "ci"}, ["db", "test", "web"]),
        ([], {"GOCKER_PROFILES": "all", "COMPOSE_PROFILES": "ci"}, ["db", "test", "web"]),
        (["nothing"], {}, ["db", "web"]),
    ],
)  # fmt: skip
def test_profiles(
    project: Project, profiles: list[str], env: dict[str, str], expected: list[str]
) -> None:
    assert names(project, profiles=profiles, env=env) == expected


def test_a_star_enables_all(project: Project) -> None:
    project.write("gone.env", "")
    assert len(names(project, profiles=["*"])) == 5


def test_profiles_may_come_from_dotenv(project: Project) -> None:
    project.write(".env", "COMPOSE_PROFILES=all")
    assert names(project) == ["db", "test", "web"]


@pytest.mark.parametrize(
    ("services", "expected"),
    [
        (["db"], ["db"]), (["web"], ["db", "web"]), (["test"], ["db", "test", "web"]),
        (["test-a", "db"], ["db", "test-a"]), (["d*"], ["db"]),
    ],
)  # fmt: skip
def test_naming_services(project: Project, services: list[str], expected: list[str]) -> None:
    assert names(project, services=services) == expected


def test_an_unknown_service_is_a_usage_error(project: Project) -> None:
    with pytest.raises(UsageError, match="no such service: wbe") as caught:
        names(project, services=["wbe"])
    assert caught.value.hint == "did you mean 'web'?"


def test_resources_without_use_are_dropped(project: Project) -> None:
    model = project.model(TEXT, services=["db"])
    assert list(model["networks"]) == ["back"]
    assert list(model["secrets"]) == ["s"]
    assert "volumes" not in model
    assert "configs" not in model
    assert sorted(project.model(TEXT, all_resources=True)["networks"]) == [
        "back",
        "default",
        "front",
        "unused",
    ]


def test_a_dependency_on_a_disabled_service(project: Project) -> None:
    text = "services: {a: {image: x, depends_on: %s}, b: {image: x, profiles: [p]}}"
    error = project.error(text % "[b]")
    assert "a.depends_on.b: service 'b' is disabled (enable it with --profile p" in error
    optional = "{b: {condition: service_started, required: false}}"
    assert "b" in project.model(text % optional)["services"]["a"]["depends_on"]
    chosen = project.model(text % optional, services=["a"])["services"]["a"]
    assert "depends_on" not in chosen
    project.model(text % "[b]", profiles=["p"])


def test_an_undefined_dependency_is_always_an_error(project: Project) -> None:
    error = project.service_error(
        "depends_on: {gone: {condition: service_started, required: false}}"
    )
    assert "undefined service 'gone'" in error


def test_a_disabled_service_is_not_checked(project: Project) -> None:
    loaded = project.load(
        "services: {a: {image: x}, b: {image: x, profiles: [p], networks: [gone]}}"
    )
    assert list(loaded.disabled) == ["b"]


def test_a_chosen_service_is_checked(project: Project) -> None:
    text = "services: {a: {image: x}, b: {image: x, profiles: [p], networks: [gone]}}"
    assert "undefined network" in project.error(text, services=["b"])


# --- environment files ---


def test_precedence_of_environment_files(project: Project) -> None:
    project.write("a.env", "ONE=a\nTWO=a\nTHREE=a\nFOUR=a\nK=file")
    project.write("b.env", "TWO=b\nREF=${ONE}-${OWN}-${PROC}")
    found = project.service(
        "env_file: [a.env, b.env], environment: {THREE: own, FOUR: '', OWN: o, K: }",
        env={"PROC": "p"},
    )
    assert found["environment"] == {
        "ONE": "a", "TWO": "b", "THREE": "own", "FOUR": "", "OWN": "o", "K": None,
        "REF": "a-o-p",
    }  # fmt: skip
    assert "env_file" not in found


def test_names_without_value_come_from_the_project_environment(project: Project) -> None:
    for form in ("[FROM_PROC, NOWHERE]", "{FROM_PROC: , NOWHERE: }"):
        found = project.service(f"environment: {form}", env={"FROM_PROC": "v"})
        assert found["environment"] == {"FROM_PROC": "v", "NOWHERE": None}


def test_dotenv_never_reaches_a_container_by_itself(project: Project) -> None:
    project.write(".env", "A=1")
    assert "environment" not in project.service("user: u")


def test_raw_format(project: Project) -> None:
    project.write("r.env", "A='$X' \"q\" # c")
    found = project.service("env_file: [{path: r.env, format: raw}]")
    assert found["environment"] == {"A": "'$X' \"q\" # c"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("gone.env", "cannot read env file"),
        ("[{path: a.env, format: toml}]", "unsupported env_file"),
        ("bad.env", "bad.env:2:1: services.web.env_file: variable name with a space"),
        (".", "directory"),
    ],
)  # fmt: skip
def test_bad_environment_files(project: Project, entry: str, message: str) -> None:
    project.write("a.env", "A=1")
    project.write("bad.env", "A=1\nB C=2")
    assert message in project.service_error(f"env_file: {entry}")


def test_without_environment_resolution_the_files_stay(project: Project) -> None:
    found = project.service("env_file: gone.env", resolve_env=False)
    assert found["env_file"] == [{"path": str(project.directory / "gone.env")}]


def test_label_files_are_below_labels(project: Project) -> None:
    project.write("a.labels", "a=1\nb=1")
    project.write("b.labels", "b=2\nc=$b")
    found = project.service("label_file: [a.labels, b.labels], labels: {c: own}")
    assert found["labels"] == {"a": "1", "b": "2", "c": "own"}
    assert "label_file" not in found
    assert "cannot read label file" in project.service_error("label_file: gone")
