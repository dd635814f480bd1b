from __future__ import annotations

import json

import pytest

from gocker.errors import PlanError
from gocker.plan import graph
from gocker.plan.model import Dependency, Healthcheck, Plan, Unit

COMPLETED = "service_completed_successfully"


def make(name: str, *edges: Dependency, service: str | None = None, **fields: object) -> Unit:
    return Unit(name=name, service=service or name, image="i", depends=edges, **fields)  # type: ignore[arg-type]  # keywords of Unit


def test_order_puts_dependencies_first_and_keeps_the_given_order() -> None:
    depends = {"z": ["b"], "b": [], "a": [], "c": ["a", "b"]}
    assert graph.order(depends) == ["b", "a", "z", "c"]


def test_order_of_a_long_chain_needs_no_stack() -> None:
    chain = {f"u{n}": [f"u{n - 1}"] if n else [] for n in range(5000, -1, -1)}
    assert graph.order(chain) == [f"u{n}" for n in range(5001)]


def test_order_names_the_cycle_and_not_what_hangs_on_it() -> None:
    depends = {"after": ["a"], "a": ["b"], "b": ["c"], "c": ["a"], "free": []}
    with pytest.raises(PlanError, match=r"^dependency cycle: a -> b -> c -> a$"):
        graph.order(depends)


def test_order_names_a_unit_that_depends_on_itself() -> None:
    with pytest.raises(PlanError, match=r"a -> a$"):
        graph.order({"a": ["a"]})


def test_order_refuses_an_unknown_name() -> None:
    with pytest.raises(PlanError, match="'a' depends on 'b', which does not exist"):
        graph.order({"a": ["b"]})


def test_units_are_ordered() -> None:
    units = {"b": make("b", Dependency("a")), "a": make("a")}
    assert list(graph.order_units(units)) == ["a", "b"]


def test_units_may_lack_an_optional_dependency() -> None:
    units = {"b": make("b", Dependency("off", required=False))}
    assert list(graph.order_units(units)) == ["b"]


def test_units_may_wait_twice_for_the_same_unit() -> None:
    edges = Dependency("a"), Dependency("a", COMPLETED)
    units = {"b": make("b", *edges), "a": make("a")}
    assert list(graph.order_units(units)) == ["a", "b"]


def test_waiting_for_health_needs_a_healthcheck() -> None:
    units = {"db": make("db"), "web": make("web", Dependency("db", "service_healthy"))}
    with pytest.raises(PlanError, match="'db' to be healthy, which has no healthcheck"):
        graph.order_units(units)


@pytest.fixture
def plan() -> Plan:
    db = make("db", role="support", health=Healthcheck(("true",)))
    tests = [make(f"test-{n}", Dependency("db", "service_healthy"), service="test") for n in (1, 2)]
    report = make(
        "report",
        *(Dependency(t.name, COMPLETED) for t in tests),
        Dependency("lint", COMPLETED, required=False),
        Dependency("off", required=False),
        when="always",
    )
    units = [db, *tests, make("lint"), report]
    return Plan("demo", {unit.name: unit for unit in units})


def test_text(plan: Plan) -> None:
    assert graph.text(plan) == (
        "db [support]\n"
        "test x2 [job] <- db (healthy)\n"
        "lint [job]\n"
        "report [job, always] <- test (completed), lint (completed, optional)\n"
    )


def test_mermaid(plan: Plan) -> None:
    assert graph.mermaid(plan) == (
        "flowchart LR\n"
        '    s0(["db"])\n'
        '    s1["test x2"]\n'
        '    s2["lint"]\n'
        '    s3["report"]\n'
        "    s0 -->|healthy| s1\n"
        "    s1 -->|completed| s3\n"
        "    s2 -.->|completed| s3\n"
    )


def test_json_has_every_unit_and_edge(plan: Plan) -> None:
    document = json.loads(graph.as_json(plan))
    assert document["project"] == "demo"
    assert [unit["instance"] for unit in document["units"]] == list(plan.units)
    assert document["units"][1] == {
        "instance": "test-1",
        "service": "test",
        "role": "job",
        "when": "on_success",
        "depends_on": [{"instance": "db", "condition": "service_healthy", "required": True}],
    }
