"""Which services are jobs and which support them."""

from __future__ import annotations

from typing import Any

from gocker.spec.model import Project
from gocker.spec.model.roles import roles

HEALTHY = {"test": ["CMD", "true"]}


def roles_of(services: dict[str, Any], **top: Any) -> dict[str, str]:
    model = {"name": "p", "services": services, **top}
    return dict(roles(Project.from_canonical(model, lambda _: None)))


def after(condition: str, name: str = "a") -> dict[str, Any]:
    return {"depends_on": {name: {"condition": condition}}}


def test_a_service_nobody_waits_for_is_a_job() -> None:
    assert roles_of({"a": {}}) == {"a": "job"}


def test_one_that_others_need_running_is_support() -> None:
    assert roles_of({"a": {}, "b": after("service_started")}) == {"a": "support", "b": "job"}


def test_one_that_others_need_healthy_is_support() -> None:
    services = {"a": {"healthcheck": HEALTHY}, "b": after("service_healthy")}
    assert roles_of(services)["a"] == "support"


def test_one_whose_completion_is_awaited_by_anybody_is_a_job() -> None:
    services = {
        "a": {},
        "b": after("service_completed_successfully"),
        "c": after("service_started"),
    }
    assert roles_of(services)["a"] == "job"


def test_the_extension_decides_when_it_says_so() -> None:
    services = {
        "a": {"x-gocker": {"role": "job"}},
        "b": {**after("service_started"), "x-gocker": {"role": "support"}},
    }
    assert roles_of(services) == {"a": "job", "b": "support"}


def test_entries_of_jobs_are_jobs_and_make_services_support() -> None:
    assert roles_of({"a": {}}, jobs={"m": after("service_started")}) == {"m": "job", "a": "support"}
