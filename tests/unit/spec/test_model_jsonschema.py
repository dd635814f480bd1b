"""The JSON Schema for editors, tried with a validator that is not ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

from gocker.spec import jsonschema
from gocker.spec.model import reference

ROOT = Path(__file__).parents[3]
VALIDATOR = Draft7Validator(jsonschema.Generator().schema())

SHORT_FORMS = """
version: "3.8"
name: demo
include: [other.yaml, {path: [a.yaml, b.yaml], project_directory: ./x}]
x-common: &common {restart: "on-failure:2"}
services:
  x-ray:
    <<: *common
    image: ${IMAGE:-host:/}
    command: sh -c 'echo hi'
    entrypoint: null
    environment: [A=1, B]
    env_file: .env
    volumes: ["data:/d", "./src:/s:ro", {type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 1777}}]
    tmpfs: /tmp
    secrets: [token, {source: token, target: t, mode: 0440}]
    depends_on: [db]
    ports: ["80:80", 81, {target: 82, published: "8082"}]
    networks: [default]
    extra_hosts: ["db:10.0.0.1"]
    ulimits: {nofile: 1024, nproc: {soft: 1, hard: 2}}
    devices: ["/dev/null:/dev/nothing:rw"]
    dns: 10.0.0.1
    group_add: [100, audio]
    expose: [80, "81"]
    labels: {a: 1, b: true}
    cpus: "${CPUS}"
    mem_limit: 64m
    init: "${INIT}"
    stop_grace_period: 1m30s
    healthcheck: {test: "true", interval: 1s, retries: "${N}"}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}, labels: {a: b}}
    extends: {service: base, file: base.yaml}
    label_file: labels.txt
    sysctls: [net.core.somaxconn=1]
    privileged: false
    develop: {watch: []}
  db:
    image: postgres
    depends_on: {x-ray: {condition: "${CONDITION}", required: false}}
    networks: {default: null}
    extra_hosts: {db: [10.0.0.1, "::1"]}
volumes:
  data:
  other: {external: {name: real}}
secrets: {token: {file: ./token}}
configs: {c: {content: text, labels: [a=b]}}
networks: {default: null}
jobs:
  migrate: {image: app, command: [migrate], triggers: {manual: true}}
"""

BATCH = """
services:
  test:
    image: python:${PY:-3.12}
    command: pytest -q
    x-gocker:
      matrix:
        PY: ["3.11", "3.12"]
        PG: [15, 16]
        exclude: [{PY: "3.11", PG: 16}]
        include: [{PY: "3.13", PG: "17"}]
        max_parallel: 2
        fail_fast: false
      timeout: 10m
      retry: {max: 2, when: [oom, timeout, "exit:75"], delay: 5s, backoff: 2}
      allow_failure: {exit_codes: [77]}
      artifacts: {paths: [/out/**], when: always, max_size: 100m}
      reports: {junit: /out/junit.xml}
      limits: {enforce: strict, fail_on: [pids, "throttled>50%"]}
  short:
    image: busybox
    x-gocker:
      {retry: 2, allow_failure: true, artifacts: [/o], limits: best-effort, when: always,
       success_codes: 3, role: job, mask: TOKEN, ready: {port: 80}}
x-gocker: {timeout: 30m, parallel: 4, fail_fast: true, keep: on_failure, admission: reserve}
"""


def load(text: str) -> Any:
    yaml = YAML(typ="safe")
    return yaml.load(text)


def errors(spec: Any) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(spec)]


def test_it_is_a_schema_of_draft_07() -> None:
    Draft7Validator.check_schema(VALIDATOR.schema)


@pytest.mark.parametrize("text", [SHORT_FORMS, BATCH], ids=["short forms", "batch"])
def test_specs_as_people_write_them_are_accepted(text: str) -> None:
    assert errors(load(text)) == []


def test_the_example_specs_are_accepted() -> None:
    examples = sorted((ROOT / "specs").rglob("*.y*ml"))
    assert {str(path): errors(load(path.read_text())) for path in examples} == {
        str(path): [] for path in examples
    }


@pytest.mark.parametrize(
    "service",
    [
        {"comand": "x"},
        {"storage_opt": {"size": "1G"}},
        {"cpus": []},
        {"depends_on": {"a": {"condition": "service_helthy"}}},
        {"restart": "sometimes"},
        {"healthcheck": {"tst": "x"}},
        {"x-gocker": {"retries": 2}},
        {"x-gocker": {"retry": {"max": -1}}},
        {"x-gocker": {"matrix": {"PY": []}}},
        {"ulimits": {"nofile": {"soft": 1}}},
        {"oom_score_adj": 5000},
    ],
)
def test_mistakes_are_found(service: dict[str, Any]) -> None:
    assert errors({"services": {"a": service}}) != []


def test_unsupported_keys_carry_their_reason() -> None:
    schema = VALIDATOR.schema
    assert isinstance(schema, dict)
    properties = schema["definitions"]["Service"]["properties"]
    assert properties["cpu_count"]["description"].startswith("refused: Windows only")
    assert properties["logging"]["description"].startswith("not built yet: ")


def test_the_published_schema_is_the_models() -> None:
    published = (ROOT / "specs" / "schema.json").read_text()
    assert json.loads(published) == VALIDATOR.schema, "run python -m gocker.spec.jsonschema"


def test_the_published_table_is_the_tables() -> None:
    published = (ROOT / "docs" / "spec.md").read_text()
    assert published == reference.text(), "run python -m gocker.spec.model.reference"


def test_every_honoured_key_has_a_description() -> None:
    rows = reference.rows()
    undescribed = [path for path, row, about in rows if row.status == "honoured" and not about]
    assert undescribed == []
