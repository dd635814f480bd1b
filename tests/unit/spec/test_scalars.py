"""YAML's values as Compose's texts: the trap for a Python loader."""

from __future__ import annotations

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.unit.spec.conftest import Project


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("Off", "Off"), ("y", "y"), ("true", "true"),
        ("False", "false"), ("0x1F", "31"), ("0o17", "15"), ("0777", "511"), ("0b101", "5"),
        ("1_000", "1000"), ("+1", "1"), ("1.10", "1.1"), ("3.0", "3"), ("1e3", "1000"),
        ("1000000.0", "1e+06"), ("12:30:45", "12:30:45"), ("2031-02-03", "2031-02-03"),
        ("''", ""), ("99999999999999999999", "1e+20"),
    ],
)  # fmt: skip
def test_environment(project: Project, text: str, expected: str) -> None:
    assert project.service(f"environment: {{A: {text}}}")["environment"] == {"A": expected}


@pytest.mark.parametrize(
    ("text", "expected"), [("~", ""), ("null", ""), ("", ""), ('"null"', "null"), ("1.0", "1")]
)
def test_labels(project: Project, text: str, expected: str) -> None:
    assert project.service(f"labels: {{A: {text}}}")["labels"] == {"A": expected}


def test_restart_no_is_a_string(project: Project) -> None:
    assert project.service("restart: no")["restart"] == "no"


def test_port_22_22_is_no_number_to_base_60(project: Project) -> None:
    ports = project.service("ports: [22:22]")["ports"]
    assert ports == [{"mode": "ingress", "protocol": "tcp", "target": 22, "published": "22"}]


def test_documents_of_one_file_merge_in_order(project: Project) -> None:
    model = project.model(
        "services: {a: {image: x, command: [a]}}\n---\nservices: {a: {command: [b]}, c: {image: y}}"
    )
    assert model["services"]["a"]["command"] == ["b"]
    assert sorted(model["services"]) == ["a", "c"]


def test_merge_keys(project: Project) -> None:
    service = project.model(
        "x-base: &base {image: x, environment: {A: 1}}\n"
        "services: {web: {<<: *base, environment: {B: 2}}}"
    )["services"]["web"]
    assert service["environment"] == {"B": "2"}


def test_a_service_may_be_called_x_ray(project: Project) -> None:
    assert "x-ray" in project.model("services: {x-ray: {image: x}}")["services"]


def test_extensions_are_kept_at_any_level(project: Project) -> None:
    model = project.model("x-a: {b: 1}\nservices: {web: {image: x, x-c: [1], deploy: {x-d: null}}}")
    assert model["x-a"] == {"b": 1}
    assert model["services"]["web"]["x-c"] == [1]
    assert model["services"]["web"]["deploy"]["x-d"] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty compose file"), ("null", "must be a mapping"), ("- a", "must be a mapping"),
        ("text", "must be a mapping"),
        ("{}", "empty compose file"),
        ("# only", "empty compose file"),
        ("services: {a: {image: x}, a: {image: y}}", "already defined at line 1"),
        ("services: {a: {image: x, labels: {1: b}}}", "services.a.labels: non-string key 1"),
    ],
)  # fmt: skip
def test_documents_that_are_no_project(project: Project, text: str, message: str) -> None:
    assert message in project.error(text)


def test_empty_services_load(project: Project) -> None:
    assert project.model("services: {}") == {"name": "p", "services": {}}
    assert project.model("name: q") == {"name": "p", "services": {}}
