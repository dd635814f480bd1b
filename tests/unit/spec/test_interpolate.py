"""Interpolation in documents: which values, casts, errors with their path."""

from __future__ import annotations

from typing import Any

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.unit.spec.conftest import Project


@pytest.mark.parametrize(
    ("body", "env", "key", "expected"),
    [
        ("cpus: '${X}'", "1.5", "cpus", 1.5), ("init: '${X}'", "true", "init", True),
        ("mem_limit: '${X}'", "256m", "mem_limit", "268435456"),
        ("tty: '${X}'", "yes", "tty", True),
        ("pids_limit: '${X}'", "10", "pids_limit", 10),
        ("cpu_shares: '${X}'", "5", "cpu_shares", 5),
        ("scale: '${X}'", "0", "scale", 0), ("deploy: {replicas: '${X}'}", "3", "deploy",
         {"replicas": 3, "resources": {}, "placement": {}}),
        ("ulimits: {nofile: '${X}'}", "9", "ulimits", {"nofile": 9}),
        ("ulimits: {nofile: {soft: '${X}', hard: 20}}", "9", "ulimits",
         {"nofile": {"soft": 9, "hard": 20}}),
        ("command: 'run ${X}'", "--name 'two words' -v", "command",
         ["run", "--name", "two words", "-v"]),
        ("labels: {l: '${X}'}", "[1, 2]", "labels", {"l": "[1, 2]"}),
        ("labels: {l: '${X}'}", "007", "labels", {"l": "007"}),
        ("labels: {'$X': one}", "real", "labels", {"$X": "one"}),
        ("labels: ['$X=two']", "real", "labels", {"real": "two"}),
        ("healthcheck: {disable: '${X}'}", "on", "healthcheck", {"disable": True}),
        ("ports: [{target: '${X}'}]", "80", "ports",
         [{"target": 80, "protocol": "tcp", "mode": "ingress"}]),
        ("ports: ['${X}:80']", "8080", "ports",
         [{"target": 80, "published": "8080", "protocol": "tcp", "mode": "ingress"}]),
        ("oom_score_adj: '${X}'", "-5", "oom_score_adj", -5),
        ("cpu_rt_runtime: '${X}'", "400ms", "cpu_rt_runtime", 400000),
        ("read_only: '${X}'", "FALSE", "read_only", None),
    ],
)  # fmt: skip
def test_text_becomes_what_the_key_wants(
    project: Project, body: str, env: str, key: str, expected: Any
) -> None:
    assert project.service(body, env={"X": env}).get(key) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("deploy: {replicas: '${X}'}", "services.web.deploy.replicas: 'lots' is not an integer"),
        ("init: '${X}'", "services.web.init: 'lots' is not a boolean"),
        ("cpus: '${X}'", "services.web.cpus: 'lots' is not a number"),
        ("scale: '${Y}'", "services.web.scale: '' is not an integer"),
        (
            "user: '${Y?pass it}'",
            "services.web.user: required variable Y is missing a value: pass it",
        ),
        ("user: '${Y/a/b}'", "services.web.user: invalid interpolation format '${Y/a/b}'"),
        ("user: '${Y'", "services.web.user: invalid interpolation format '${Y'"),
        ("x-a: {b: ['${Y:?x}']}", "services.web.x-a.b[0]: required variable Y"),
    ],
)
def test_errors_name_the_path(project: Project, body: str, expected: str) -> None:
    error = project.service_error(body, env={"X": "lots"})
    assert error.startswith("f0.yaml:1:")
    assert expected in error


def test_several_are_told_at_once_with_schema_mistakes(project: Project) -> None:
    errors = project.errors(
        "services:\n  a:\n    image: ${A?x}\n    user: ${B?y}\n    imag: z\n  b:\n    image: [1]\n"
    )
    assert [error.split(" ")[0] for error in errors] == [
        "f0.yaml:3:12:", "f0.yaml:4:11:", "f0.yaml:5:5:", "f0.yaml:7:12:",
    ]  # fmt: skip


def test_extension_fields_are_interpolated_too(project: Project) -> None:
    assert "OWNER" in project.error("x-meta: {owner: '${OWNER:?..}'}\nservices: {}")


def test_a_variable_that_is_not_set_is_a_warning(project: Project) -> None:
    loaded = project.load("services: {a: {image: 'x$NOT_THERE'}}")
    assert loaded.model["services"]["a"]["image"] == "x"
    assert any("NOT_THERE" in warning for warning in loaded.warnings)


def test_a_word_for_a_boolean_is_a_warning(project: Project) -> None:
    assert any("YAML 1.2" in w for w in project.load(
        "services: {a: {image: x, tty: 'yes'}}"
    ).warnings)  # fmt: skip


def test_a_required_variable_fails_even_where_it_is_overridden(project: Project) -> None:
    base = "services: {a: {image: '${IMG:?no image}'}}"
    assert "no image" in project.error(base, "services: {a: {image: y}}")


def test_the_project_name_can_be_used(project: Project) -> None:
    model = project.model("services: {a: {image: 'x:$COMPOSE_PROJECT_NAME'}}")
    assert model["services"]["a"]["image"] == "x:p"


def test_without_interpolation_the_text_stays(project: Project) -> None:
    model = project.model(
        "services: {a: {image: 'x:${A:?b}', ports: ['${P}:80'], cpus: '${C}'}}", interpolate=False
    )
    service = model["services"]["a"]
    assert service["image"] == "x:${A:?b}"
    assert service["ports"] == ["${P}:80"]
    assert model["name"] == "p"


def test_the_variables_used_are_remembered(project: Project) -> None:
    loaded = project.load("services: {a: {image: '${A:-x}$B'}}", env={"B": "b"})
    assert loaded.variables == {"A": None, "B": "b"}
