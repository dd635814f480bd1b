"""The canonical model as YAML and JSON, config's lists, places and origins."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gocker.spec import explain, render
from gocker.spec.load import LoadOptions
from gocker.spec.nodes import plain
from gocker.spec.parse import parse
from gocker.spec.problems import Problems

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.unit.spec.conftest import Project

TEXT = """
name: demo
services:
  web:
    image: x:${TAG:-1}
    command: echo $$HOME
    depends_on: [db]
    environment: {A: 'yes', B: "two\\nlines\\n"}
    x-foo: {a: 1}
    labels: {x-l: m}
    logging: {options: {x-o: p}, x-q: r}
    x-gocker: {timeout: 5s}
    profiles: [a]
  db: {image: y, deploy: {replicas: 2}, volumes: ['v:/v'], pre_start: [{image: z, command: m}]}
volumes: {v: {}}
x-top: {x-in: [1, null, {}, []]}
"""


def reread(text: str) -> Any:
    problems = Problems()
    documents = parse(text.encode(), "out", problems)
    assert [str(problem) for problem in problems.found] == []
    return plain(documents[0].root)


def test_json_doubles_dollars_and_keeps_what_the_reference_keeps(project: Project) -> None:
    text = render.json_text(project.model(TEXT, profiles=["a"]))
    web = json.loads(text)["services"]["web"]
    assert web["command"] == ["echo", "$$HOME"]
    assert "x-foo" not in web
    assert web["labels"] == {"x-l": "m"}
    assert web["logging"] == {"options": {"x-o": "p"}}
    assert web["x-gocker"] == {"timeout": "5s"}
    assert json.loads(text)["x-top"] == {"x-in": [1, None, {}, []]}


def test_yaml_output_loads_to_the_same_model(project: Project) -> None:
    model = project.model(TEXT, profiles=["a"])
    text = render.yaml_text(model)
    assert "ipam" not in text
    assert project.model(text, profiles=["a"]) == model


def test_without_interpolation_nothing_is_doubled(project: Project) -> None:
    model = project.model(TEXT, interpolate=False, project_name=None)
    assert "x:${TAG:-1}" in render.yaml_text(model, interpolated=False)
    assert json.loads(render.json_text(model, interpolated=False))["name"] == "demo"


# Everything but NUL and surrogates, which no YAML text holds.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 60), 1 << 60)
    | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
    | st.sampled_from(["yes", "0x1F", "1e3", "a: b", "- a", "#", " a", "a ", "null", "1_0", "~"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@example({"": [{"{": ""}]})
@given(st.dictionaries(TEXTS, VALUES, max_size=3))
def test_any_value_survives_yaml(value: dict[str, Any]) -> None:
    assert reread(render.yaml_text({"x-a": value}, interpolated=False)) == {"x-a": value}


def test_bytes_of_the_environment_that_are_no_text_can_be_printed(project: Project) -> None:
    model = project.model("services: {a: {image: x, user: $U}}", env={"U": "a\udcff"})
    assert model["services"]["a"]["user"] == "a\udcff"
    for text in (render.yaml_text(model), render.json_text(model)):
        assert "a\ufffd" in text or "a\\ufffd" in text


def test_lists(project: Project) -> None:
    loaded = project.load(TEXT, profiles=["a"], env={"ONE": "1"})
    assert render.services(loaded) == ["db", "web"]
    assert render.names(loaded, "volumes") == ["v"]
    assert render.names(loaded, "networks") == ["default"]
    assert render.images(loaded) == ["x:1", "y", "z"]
    assert render.profiles(project.load(TEXT)) == ["a"]
    assert "ONE=1" in render.environment(loaded)


def test_a_cycle_does_not_stop_the_list_of_services(project: Project) -> None:
    loaded = project.load(
        "services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}",
        consistency=False,
    )
    assert render.services(loaded) == ["b", "a"]


def test_hashes_change_with_the_configuration_alone(project: Project) -> None:
    first = render.hashes(project.load("services: {a: {image: x}, b: {image: y}}"))
    second = render.hashes(
        project.load("services: {a: {image: x, scale: 3, depends_on: [b]}, b: {image: z}}")
    )
    assert first["a"] == second["a"]
    assert first["b"] != second["b"]


def test_variables(project: Project) -> None:
    path = project.write("compose.yaml", "services: {a: {image: '${A:-x}$B', user: '${C:?d}'}}")
    options = LoadOptions([str(path)], environ={}, project_name="p")
    found = [(v.name, v.required, v.default) for v in explain.used_variables(options)]
    assert found == [("A", False, "x"), ("B", False, ""), ("C", True, "")]
    assert options.interpolate is True


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("services.web.image", "f0.yaml:3:16"), ("services.web", "f0.yaml:3:3"),
        ("services.web.ports[0].target", "f0.yaml:4:13"), ("services.web.ports[1]", "f1.yaml:2:17"),
        ("services.web.environment.A", "f0.yaml:5:19"), ("services.web.networks", "f0.yaml:3:8"),
        ("services.web.gone.deep", "f0.yaml:3:3"), ("services.a.b.image", "f0.yaml:6:16"),
    ],
)  # fmt: skip
def test_places(project: Project, path: str, place: str) -> None:
    loaded = project.load(
        "x-a: 1\nservices:\n  web: {image: x,\n    ports: ['80:80'],\n    environment: [A=1]}\n"
        "  a.b: {image: y}\n",
        "services:\n  web: {ports: ['81:81']}\n",
    )
    assert str(loaded.place(path)).replace(f"{project.directory}/", "") == place


def test_origins(project: Project) -> None:
    loaded = project.load(
        "services:\n  web:\n    image: x:${TAG:-1}\n    environment: {A: 1}\n",
        "services: {web: {user: u, ports: [{target: 80}]}}",
    )
    origins = {origin.path: origin for origin in explain.explain(loaded)}
    assert origins["services.web.image"].source == "variable TAG"
    assert origins["services.web.image"].place.line == 3
    assert origins["services.web.user"].place.file.endswith("f1.yaml")
    assert origins["services.web.environment.A"].source == "written"
    assert origins["services.web.ports[0].protocol"].source == "default"
    assert origins["services.web.command"].source == "implied"
    assert origins["networks.default.name"].source == "default"
