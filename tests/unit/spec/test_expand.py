"""A matrix: each combination is the service with the combination's variables."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from gocker.errors import SpecError
from gocker.spec.expand import Instance, expand
from gocker.spec.load import Loaded, LoadOptions, load
from gocker.spec.model import Project
from gocker.spec.model import load as load_model
from gocker.spec.model.roles import roles


class Specs:
    """Writes files and expands them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def load(self, text: str, *services: str, **environ: str) -> tuple[Loaded, Project]:
        path = self.directory / "spec.yaml"
        path.write_text(f"name: p\n{text}")
        options = LoadOptions([str(path)], services=services, environ=environ)
        loaded = load(options)
        return loaded, load_model(loaded.model, loaded.place)

    def expand(self, text: str, *services: str, **environ: str) -> dict[str, list[Instance]]:
        loaded, project = self.load(text, *services, **environ)
        return expand(loaded, project, roles(project))


@pytest.fixture
def specs(tmp_path: Path) -> Specs:
    return Specs(tmp_path)


TEST = """
services:
  test:
    image: python:${PY:-3.12}
    command: [run, "${PG}"]
    environment: {VERSION: "${PY:-3.12} on ${HOME_OS}", PY: }
    volumes: ["cache:/cache/${PY:-none}"]
    x-gocker:
      timeout: ${PG:-1}m
      matrix: {PY: ["3.11", "3.13"], PG: [15, "16"]}
volumes: {cache: }
"""


def test_every_value_of_the_service_has_the_combinations_variables(specs: Specs) -> None:
    instances = specs.expand(TEST, HOME_OS="linux")["test"]
    assert [item.name for item in instances] == [
        "test-3.11-15", "test-3.11-16", "test-3.13-15", "test-3.13-16",
    ]  # fmt: skip
    last = instances[-1].service
    assert (last.image, last.command) == ("python:3.13", ("run", "16"))
    assert last.environment == {"VERSION": "3.13 on linux", "PY": "3.13"}
    assert last.volumes[0].target == "/cache/3.13"
    assert last.x_gocker is not None
    assert last.x_gocker.timeout == 960.0


def test_the_service_itself_is_what_docker_compose_sees(specs: Specs) -> None:
    loaded, project = specs.load(TEST)
    assert project.services["test"].image == "python:3.12"
    assert list(loaded.model["services"]) == ["test"]


def test_a_variable_of_a_matrix_is_not_missed(specs: Specs) -> None:
    loaded, _ = specs.load(TEST)
    assert loaded.warnings == ["The 'HOME_OS' variable is not set. Defaulting to a blank string."]


def test_a_combination_hides_the_environment(specs: Specs) -> None:
    instances = specs.expand(TEST, PY="2.7", PG="9")["test"]
    assert instances[0].service.image == "python:3.11"


def test_names_can_be_names_of_files_and_hosts_and_are_unique(specs: Specs) -> None:
    text = "services: {a: {x-gocker: {matrix: {V: ['x/y', x y, '', v1]}}}, a-v1: {}}"
    names = [item.name for item in specs.expand(text)["a"]]
    assert names == ["a-x-y", "a-x-y-2", "a-empty", "a-v1-2"]


def test_what_the_service_extends_has_the_variables_too(specs: Specs) -> None:
    (specs.directory / "base.yaml").write_text(
        "services: {base: {image: 'base:${V}', extends: deeper}, deeper: {user: 'u${V}'}}"
    )
    text = """
services:
  own: {working_dir: "/${V}"}
  a:
    extends: {file: base.yaml, service: base}
    x-gocker: {matrix: {V: ["1", "2"]}}
  b: {extends: own, x-gocker: {matrix: {V: ["1", "2"]}}}
"""
    found = specs.expand(text)
    assert [item.service.image for item in found["a"]] == ["base:1", "base:2"]
    assert found["a"][1].service.user == "u2"
    assert [item.service.working_dir for item in found["b"]] == ["/1", "/2"]


def test_an_included_service_has_the_variables_too(specs: Specs) -> None:
    (specs.directory / "lib").mkdir()
    (specs.directory / "lib/.env").write_text("V=9\n")
    (specs.directory / "lib/spec.yaml").write_text(
        "services: {a: {image: 'i:${V}', x-gocker: {matrix: {V: ['1', '2']}}}}"
    )
    found = specs.expand("include: [lib/spec.yaml]\nservices: {other: {}}")
    assert [item.service.image for item in found["a"]] == ["i:1", "i:2"]


def test_files_are_not_read_again(specs: Specs, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, project = specs.load(TEST)
    monkeypatch.setattr("gocker.spec.documents.parse", None)
    monkeypatch.setattr("gocker.spec.files.read", None)
    assert len(expand(loaded, project, roles(project))["test"]) == 4


def test_dependencies_that_were_not_chosen_are_left_out(specs: Specs) -> None:
    text = """
services:
  db: {profiles: [never]}
  a:
    depends_on: {db: {condition: service_started, required: false}}
    x-gocker: {matrix: {V: ["1"]}}
"""
    assert specs.expand(text)["a"][0].service.depends_on == {}


def test_an_instance_has_the_role_of_its_service(specs: Specs) -> None:
    text = """
services:
  db: {restart: always, x-gocker: {matrix: {V: ["1"]}}}
  a: {depends_on: [db]}
"""
    extension = specs.expand(text)["db"][0].service.x_gocker
    assert extension is not None
    assert extension.role == "support"


@pytest.mark.parametrize(
    ("service", "line", "path", "message"),
    [
        ('pids_limit: "${V:-1}"', 4, "services.a.pids_limit", "'x' is not an integer"),
        ('volumes: ["${V:-./v}:/v"]', 4, "services.a.volumes[0]", "undefined volume 'x'"),
        ('stop_grace_period: "${V:-1s}"', 4, "services.a.stop_grace_period", "duration"),
        ('x-gocker: {retry: "${V:-1}", matrix: {V: [x]}}', 4, "services.a.x-gocker.retry.max", ""),
    ],
)  # fmt: skip
def test_a_mistake_of_one_combination_has_its_place_and_the_combination(
    specs: Specs, service: str, line: int, path: str, message: str
) -> None:
    matrix = "" if "matrix" in service else "\n    x-gocker: {matrix: {V: [x, 'y']}}"
    loaded, project = specs.load(f"services:\n  a:\n    {service}{matrix}")
    with pytest.raises(SpecError) as caught:
        expand(loaded, project, roles(project))
    problem = caught.value.problems[0]
    assert (problem.line, problem.path) == (line, path)
    assert message in problem.message
    assert problem.message.endswith("(with V=x)")


def test_hundreds_of_combinations_of_a_large_file_are_quick(specs: Specs) -> None:
    others = "".join(f"  s{n}: {{image: 'i:${{A:-1}}', command: [run]}}\n" for n in range(300))
    values: list[Any] = list(range(20))
    text = f"services:\n{others}  a: {{image: 'i:${{V}}', x-gocker: {{matrix: "
    text += f"{{V: {values}, W: {values}}}}}}}\n"
    loaded, project = specs.load(text)
    before = time.process_time()
    found = expand(loaded, project, roles(project))["a"]
    assert len(found) == 400
    # Loading the file again for each would take 400 times 20 ms and more.
    assert time.process_time() - before < 4.0


def test_each_combination_may_use_other_resources(specs: Specs) -> None:
    text = """
services:
  a:
    configs: ["${C:-one}"]
    x-gocker: {matrix: {C: [one, two]}}
configs:
  one: {content: "1"}
  two: {content: "2"}
  three: {content: "3"}
"""
    second = specs.expand(text)["a"][1]
    assert second.service.configs[0].source == "two"
    assert second.project is not None
    assert set(second.project.configs) == {"one", "two"}
