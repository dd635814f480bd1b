from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gocker.cli.options import load, make_plan
from gocker.cli.up import parser
from gocker.plan import codec, model
from gocker.plan.model import Plan
from gocker.state.roots import Roots

ROOT = Path(__file__).parents[3]
SPECS = sorted((ROOT / "specs").glob("*.yaml"))
EVERYTHING = """
name: everything
x-gocker: {timeout: 1h, parallel: 3, fail_fast: true}
services:
  db:
    image: host:/
    command: [sleep, "100"]
    healthcheck: {test: [CMD, "true"], interval: 1s, start_period: 2.5s}
    volumes: ["data:/data", "/anonymous", "./made:/bound"]
    sysctls: {net.core.somaxconn: "1024"}
    restart: on-failure:3
    labels: {a.b: "c\\u2028\\U0001F600"}
  job:
    command: ["true"]
    depends_on: {db: {condition: service_healthy, required: false}}
    mem_limit: 64m
    cpus: 1.5
    scale: 3
    x-gocker:
      timeout: 90s
      retry: {max: 2, when: [oom, "exit:3-5"], delay: 1s, backoff: 1.5}
      allow_failure: {exit_codes: [3, 4]}
      success_codes: [7]
volumes: {data: {}}
"""


def plan_of(spec: Path, top: Path) -> Plan:
    arguments = parser().parse_args([str(spec)])
    (top / "roots").mkdir(mode=0o700, exist_ok=True)
    with Roots(str(top / "roots/data"), str(top / "roots/live")) as roots:
        return make_plan(*load(arguments, arguments.words), roots)


def through_json(plan: Plan) -> Plan:
    return codec.decode(json.loads(json.dumps(codec.encode(plan))))


def everything(tmp_path: Path) -> Plan:
    spec = tmp_path / "everything.yaml"
    spec.write_text(EVERYTHING)
    return plan_of(spec, tmp_path)


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.name)
def test_the_plan_of_an_example_comes_back_equal(spec: Path, tmp_path: Path) -> None:
    plan = plan_of(spec, tmp_path)
    assert through_json(plan) == plan


def test_a_plan_with_everything_comes_back_equal(tmp_path: Path) -> None:
    plan = everything(tmp_path)
    assert through_json(plan) == plan
    assert repr(through_json(plan).units) == repr(plan.units)


def test_parts_that_were_one_object_are_one_object_again(tmp_path: Path) -> None:
    def objects(plan: Plan) -> list[list[int]]:
        """Return, for each part, the number of the first container with the same object."""
        parts: list[list[Any]] = []
        for made in plan.containers.values():
            linux: Any = made.config["linux"]
            parts.append([made.config.get("mounts"), *map(linux.get, codec.SHARED_LINUX)])
        return [[[id(p[n]) for p in parts].index(id(p[n])) for n in range(5)] for p in parts]

    plan = everything(tmp_path)
    assert objects(through_json(plan)) == objects(plan)


@pytest.mark.parametrize("kind", [
    item for item in vars(model).values()
    if isinstance(item, type) and item.__module__ == model.__name__
], ids=lambda kind: kind.__name__)  # fmt: skip
def test_every_class_of_a_plan_is_known(kind: type) -> None:
    assert codec._CLASSES[kind.__name__] is kind


def test_what_has_no_json_form_is_refused(tmp_path: Path) -> None:
    plan = Plan("p", {}, notes=(("event", {"x": object()}),))
    with pytest.raises(TypeError, match="no JSON form"):
        codec.encode(plan)


@pytest.mark.parametrize("text", [
    "{}", '{"plan": 1, "shared": []}', '{"plan": ["Nothing"], "shared": []}',
    '{"plan": ["Plan", 1], "shared": []}', '{"plan": [], "shared": []}',
    '{"plan": ["()", 1], "shared": []}',
])  # fmt: skip
def test_anything_else_is_an_error(text: str) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, IndexError, AttributeError)):
        codec.decode(json.loads(text))
