"""From a project to units: instances, their names, variables and edges."""

from __future__ import annotations

from typing import Any

import pytest

from gocker.errors import PlanError
from gocker.image.resolve import RootFs
from gocker.plan.build import build
from gocker.plan.container import Host
from gocker.plan.model import Plan, Reservation
from gocker.spec.expand import Instance
from gocker.spec.model import load
from gocker.spec.model.roles import roles

COMPLETED = {"condition": "service_completed_successfully", "required": True}


def host(**fields: Any) -> Host:
    names = ("RLIMIT_CORE", "RLIMIT_MEMLOCK", "RLIMIT_NOFILE")
    limits = dict.fromkeys(names, 1 << 30)
    return Host(
        rootfs=lambda _: RootFs(("/lower",)), volumes_root="/volumes", hard_limits=limits,
        **{"cpus": 2, **fields},
    )  # fmt: skip


def plan(services: dict[str, Any], matrices: Any = None, top: Any = None, **fields: Any) -> Plan:
    for service in services.values():
        service.setdefault("command", ["true"])
    model = {"name": "p", "services": services, "x-gocker": top}
    project = load(model, lambda _: None)
    made = {
        name: [Instance(*item, project.services[name]) for item in items]
        for name, items in (matrices or {}).items()
    }
    return build(project, roles(project), host(**fields), (), made)


def environment(plan: Plan, instance: str) -> dict[str, str]:
    lines = plan.containers[instance].config["process"]["env"]
    return dict(line.split("=", 1) for line in lines)


def test_replicas_know_their_number() -> None:
    found = plan({"a": {"scale": 2}})
    assert list(found.units) == ["a-1", "a-2"]
    assert environment(found, "a-2")["GOCKER_REPLICA"] == "2"


def test_one_container_has_no_number() -> None:
    assert "GOCKER_REPLICA" not in environment(plan({"a": {}}), "a")


def test_the_spec_may_say_otherwise() -> None:
    service = {"scale": 2, "environment": {"GOCKER_REPLICA": "x"}}
    assert environment(plan({"a": service}), "a-1")["GOCKER_REPLICA"] == "x"


def test_an_instance_of_a_matrix_has_its_values_in_its_environment() -> None:
    found = plan({"a": {}}, {"a": [("a-1", {"PY": "1"}), ("a-2", {"PY": "2"})]})
    assert environment(found, "a-2")["GOCKER_MATRIX_PY"] == "2"
    assert "PY" not in environment(found, "a-2")


def test_dependents_wait_for_all_instances() -> None:
    services = {"a": {}, "b": {"depends_on": {"a": COMPLETED}}}
    found = plan(services, {"a": [("a-1", {"V": "1"}), ("a-2", {"V": "2"})]})
    assert [edge.unit for edge in found.units["b"].depends] == ["a-1", "a-2"]


def test_a_combination_may_have_replicas() -> None:
    found = plan({"a": {"scale": 2}}, {"a": [("a-x", {"V": "x"})]})
    assert list(found.units) == ["a-x-1", "a-x-2"]


def test_the_matrix_is_a_group() -> None:
    matrix = {"V": ["1"], "max_parallel": 2, "fail_fast": True}
    found = plan({"a": {"x-gocker": {"matrix": matrix}}}, {"a": [("a-1", {"V": "1"})]})
    assert found.units["a-1"].matrix == "a"
    assert (found.matrices["a"].max_parallel, found.matrices["a"].fail_fast) == (2, True)


def test_two_instances_never_share_a_name() -> None:
    with pytest.raises(PlanError, match="'a-1' is the name of two instances"):
        plan({"a": {"scale": 2}, "a-1": {}})


def test_a_long_name_is_cut_for_the_host_name() -> None:
    found = plan({"a": {}}, {"a": [("a" * 90, {"V": "1"})]})
    assert found.containers["a" * 90].config["hostname"] == "a" * 63


def test_codes_and_conditions_reach_the_unit() -> None:
    extension = {"success_codes": [3], "allow_failure": {"exit_codes": [77]}, "when": "always"}
    unit = plan({"a": {"x-gocker": extension}}).units["a"]
    assert unit.success_codes == {0, 3}
    assert (unit.allow_failure, unit.allow_failure_codes) == (False, {77})
    assert unit.when == "always"


def reserving(cpus: float, memory: str = "0", **keys: Any) -> dict[str, Any]:
    return {"deploy": {"resources": {"reservations": {"cpus": cpus, "memory": memory}}}, **keys}


RESERVE = {"admission": "reserve"}


def test_reservations_count_if_the_spec_says_so() -> None:
    services = {"a": reserving(1.5, "100"), "b": {"mem_reservation": "200"}}
    found = plan(services, top=RESERVE, memory=1000)
    assert found.capacity == Reservation(2, 1000)
    assert found.units["a"].reserve == Reservation(1.5, 100)
    assert found.units["b"].reserve == Reservation(0, 200)
    assert plan(services, memory=1000).capacity is None


@pytest.mark.parametrize("wanted", [(2.5, "0"), (1, "1001")])
def test_a_reservation_that_never_fits_is_refused(wanted: tuple[float, str]) -> None:
    with pytest.raises(PlanError, match="'a' reserves") as caught:
        plan({"a": reserving(*wanted)}, top=RESERVE, memory=1000)
    assert caught.value.context["path"] == "services.a.deploy.resources.reservations"


def test_a_job_has_to_fit_beside_all_support_services() -> None:
    services = {"db": reserving(1), "a": reserving(1.5, depends_on={"db": {
        "condition": "service_started", "required": True}})}  # fmt: skip
    with pytest.raises(PlanError, match=r"'a' reserves 1.5 CPUs .* 1 CPUs"):
        plan(services, top=RESERVE, memory=1000)


def test_values_to_mask_come_from_the_host_the_service_and_secrets() -> None:
    services: dict[str, Any] = {
        "a": {"environment": {"TOKEN": "own", "OTHER": "shown"}, "x-gocker": {"mask": ["MORE"]}},
        "b": {"secrets": [{"source": "s"}], "configs": [{"source": "c"}]},
    }
    for service in services.values():
        service["command"] = ["true"]
    model = {
        "name": "p", "services": services, "x-gocker": {"mask": ["TOKEN"]},
        "secrets": {"s": {"environment": "S"}}, "configs": {"c": {"content": "public"}},
    }  # fmt: skip
    project = load(model, lambda _: None)
    environ = {"TOKEN": "hosts", "MORE": "more", "S": "secret"}
    found = build(project, roles(project), host(environ=environ))
    assert found.mask == ("hosts", "more", "own", "secret")
