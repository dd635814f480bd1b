"""From the canonical model to the project: types, and every problem at once with its place."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gocker.errors import Problem, SpecError
from gocker.spec.model import Ignored, Project
from gocker.spec.nodes import Place

IMAGE = {"image": "host:/"}


def nowhere(path: str) -> None:
    return None


def load(model: dict[str, Any], **options: bool) -> Project:
    return Project.from_canonical({"name": "p", **model}, nowhere, **options)


def service(**keys: Any) -> Any:
    return load({"services": {"web": {**IMAGE, **keys}}}).services["web"]


def problems(model: dict[str, Any], **options: bool) -> list[tuple[str, str, str | None]]:
    with pytest.raises(SpecError) as caught:
        load(model, **options)
    return [(it.path, it.message, it.hint) for it in caught.value.problems]


def problem(**keys: Any) -> tuple[str, str, str | None]:
    (only,) = problems({"services": {"web": {**IMAGE, **keys}}})
    return only


def test_sizes_become_bytes() -> None:
    it = service(mem_limit="67108864", shm_size="64m", memswap_limit=134217728)
    assert (it.mem_limit, it.shm_size, it.memswap_limit) == (67108864, 67108864, 134217728)


def test_durations_become_seconds() -> None:
    it = service(stop_grace_period="1m30s", healthcheck={"test": ["CMD", "x"], "interval": "500ms"})
    assert (it.stop_grace_period, it.healthcheck.interval) == (90.0, 0.5)


def test_modes_are_octal() -> None:
    it = load(
        {
            "services": {"web": {**IMAGE, "secrets": [{"source": "s", "mode": "0440"}]}},
            "secrets": {"s": {"file": "/s"}},
        }
    )
    assert it.services["web"].secrets[0].mode == 0o440


def test_null_in_the_environment_is_kept_apart_from_empty() -> None:
    assert service(environment={"A": None, "B": ""}).environment == {"A": None, "B": ""}


def test_null_command_is_the_images_and_an_empty_one_clears_it() -> None:
    it = service(command=None, entrypoint=[])
    assert it.command is None
    assert it.entrypoint == ()


def test_one_ulimit_is_soft_and_hard() -> None:
    ulimits = service(ulimits={"nofile": 1024, "nproc": {"soft": 1, "hard": 2}}).ulimits
    assert [(u.soft, u.hard) for u in ulimits.values()] == [(1024, 1024), (1, 2)]


def test_canonical_extra_hosts_are_gathered_by_name() -> None:
    hosts = service(extra_hosts=["db=10.0.0.1", "db:10.0.0.2", "v6=::1", "w6:[::1]"]).extra_hosts
    assert hosts == {"db": ("10.0.0.1", "10.0.0.2"), "v6": ("::1",), "w6": ("::1",)}


@pytest.mark.parametrize(
    ("keys", "replicas"),
    [({}, 1), ({"scale": 3}, 3), ({"deploy": {"replicas": 2}}, 2), ({"scale": 0}, 0)],
)
def test_replicas_come_from_scale_or_deploy(keys: dict[str, Any], replicas: int) -> None:
    assert service(**keys).replicas == replicas


def test_deploy_limits_are_typed() -> None:
    limits = service(deploy={"resources": {"limits": {"memory": "1048576", "cpus": 0.5}}})
    assert limits.deploy.resources.limits.memory == 1048576


def test_volumes_secrets_configs_and_networks_have_their_models() -> None:
    project = load(
        {
            "volumes": {"data": {"name": "p_data"}, "bare": None},
            "networks": {"default": {"name": "p_default", "ipam": {}}},
            "configs": {"c": {"content": "x"}},
        }
    )
    assert project.volumes["data"].name == "p_data"
    assert project.volumes["bare"].external is False
    assert project.networks["default"].name == "p_default"
    assert project.configs["c"].content == "x"


def test_a_project_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        service().image = "other"


def test_the_implicit_network_is_accepted() -> None:
    assert list(service(networks={"default": None}).networks) == ["default"]


def test_extension_fields_of_others_are_dropped_at_every_level() -> None:
    it = load(
        {
            "x-common": {"a": 1},
            "services": {"x-ray": {**IMAGE, "x-vendor": 1, "deploy": {"x-vendor": 1}}},
        }
    )
    assert list(it.services) == ["x-ray"]


def test_a_service_may_have_any_map_keys() -> None:
    assert service(labels={"x-label": "1"}).labels == {"x-label": "1"}


def test_an_unknown_key_is_named_with_a_suggestion() -> None:
    assert problem(comand=["x"]) == (
        "services.web.comand", "unknown key", "did you mean 'command'?"
    )  # fmt: skip


def test_an_unknown_key_deep_down_is_named() -> None:
    assert problem(healthcheck={"test": ["CMD", "x"], "retry": 1})[0] == (
        "services.web.healthcheck.retry"
    )


def test_a_refused_key_says_why() -> None:
    assert problem(cpu_count=2) == (
        "services.web.cpu_count", "refused: Windows only; use cpus or cpuset", None
    )  # fmt: skip


def test_a_key_that_is_not_built_says_so() -> None:
    path, message, _ = problem(logging={"driver": "syslog"})
    assert path == "services.web.logging"
    assert message.startswith("not built yet: ")


@pytest.mark.parametrize(
    "keys",
    [{"privileged": False}, {"isolation": "default"}, {"runtime": "gocker"}, {"links": []},
     {"deploy": {"mode": "replicated", "placement": {}}}],
)  # fmt: skip
def test_unsupported_keys_with_values_that_change_nothing_pass(keys: dict[str, Any]) -> None:
    assert service(**keys).image == "host:/"


def test_keys_without_effect_are_accepted_and_listed() -> None:
    project = Project.from_canonical(
        {"name": "p", "services": {"web": {**IMAGE, "develop": {"watch": [{"path": "."}]}}}},
        {"services.web.develop": Place("c.yaml", 4, 5)}.get,
    )
    assert project.ignored == (
        Ignored(
            "services.web.develop", "c.yaml:4:5", "watch mode is for development; a batch runs once"
        ),
    )


def test_strict_makes_keys_without_effect_errors() -> None:
    ((path, message, _),) = problems(
        {"services": {"web": {**IMAGE, "develop": {"watch": [1]}}}}, strict=True
    )
    assert path == "services.web.develop"
    assert message.startswith("has no effect: ")


@pytest.mark.parametrize(
    ("keys", "path", "message"),
    [
        ({"cpus": "many"}, "cpus", "expected a number, found 'many'"),
        ({"cpus": -1}, "cpus", "must be at least 0, is -1"),
        ({"oom_score_adj": 2000}, "oom_score_adj", "must be at most 1000, is 2000"),
        ({"scale": 1.5}, "scale", "expected a whole number, found 1.5"),
        ({"read_only": "maybe"}, "read_only", "expected true or false, found 'maybe'"),
        ({"image": ["a"]}, "image", "expected text, found a list"),
        ({"cap_add": "CHOWN"}, "cap_add", "expected a list, found 'CHOWN'"),
        ({"environment": ["A=1"]}, "environment", "expected a mapping, found a list"),
        ({"deploy": "big"}, "deploy", "expected a mapping, found 'big'"),
        ({"volumes": [{"type": "bind", "source": "/a"}]}, "volumes[0].target", "is required"),
        ({"restart": "sometimes"}, "restart",
         "'sometimes' is not no, always, unless-stopped or on-failure[:N]"),
        ({"healthcheck": {"test": ["CMD"]}}, "healthcheck", "test: CMD names no program"),
        ({"healthcheck": {"test": ["curl", "x"]}}, "healthcheck",
         "test must start with CMD, CMD-SHELL or NONE"),
    ],
)  # fmt: skip
def test_wrong_values_are_told_in_our_words(keys: dict[str, Any], path: str, message: str) -> None:
    assert problem(**keys)[:2] == (f"services.web.{path}", message)


def test_a_wrong_word_of_a_list_of_words_has_a_suggestion() -> None:
    found = problem(depends_on={"web": {"condition": "service_helthy"}})
    assert found == (
        "services.web.depends_on.web.condition",
        "'service_helthy' is not one of "
        "service_started, service_healthy, service_completed_successfully",
        "did you mean 'service_healthy'?",
    )


def test_wrong_sizes_and_durations_are_told_by_value() -> None:
    found = problems({"services": {"web": {"mem_limit": "lots", "stop_grace_period": "30"}}})
    assert [path for path, *_ in found] == [
        "services.web.mem_limit", "services.web.stop_grace_period"
    ]  # fmt: skip
    assert "'lots'" in found[0][1]
    assert "'30'" in found[1][1]


def test_all_kinds_of_problems_are_reported_together_in_the_order_of_the_file() -> None:
    places = {
        "services.a.cpus": Place("c.yaml", 9, 7),
        "services.a.comand": Place("c.yaml", 3, 7),
        "services.b": Place("c.yaml", 12, 3),
        "volumes.v": Place("c.yaml", 20, 3),
    }
    model = {
        "name": "p",
        "services": {
            "a": {"cpus": "many", "comand": "x"},
            "b": {"image": "i", "memswap_limit": 5},
        },
        "volumes": {"v": {"driver": "nfs"}},
    }
    with pytest.raises(SpecError) as caught:
        Project.from_canonical(model, places.get)
    assert [(p.line, p.path) for p in caught.value.problems] == [
        (3, "services.a.comand"),
        (9, "services.a.cpus"),
        (12, "services.b.memswap_limit"),
        (20, "volumes.v.driver"),
    ]


def test_a_path_inside_a_short_form_has_the_place_of_what_holds_it() -> None:
    places = {"services.web.volumes[0]": Place("c.yaml", 7, 9)}
    model = {"name": "p", "services": {"web": {"volumes": [{"type": "bind", "source": "/a"}]}}}
    with pytest.raises(SpecError) as caught:
        Project.from_canonical(model, places.get)
    (only,) = caught.value.problems
    assert (only.line, only.column, only.path) == (7, 9, "services.web.volumes[0].target")


def test_a_secret_needs_one_source() -> None:
    assert problems({"secrets": {"s": {}}}) == [
        ("secrets.s", "needs exactly one of file, environment; it has none", None)
    ]


def test_a_problem_is_one_line() -> None:
    with pytest.raises(SpecError) as caught:
        load({"services": {"web": {"comand": "x"}}})
    assert isinstance(caught.value.problems[0], Problem)
    assert str(caught.value) == (
        "spec:1:1: services.web.comand: unknown key (did you mean 'command'?)"
    )


def test_jobs_are_containers_without_the_keys_of_services() -> None:
    project = load({"jobs": {"migrate": {**IMAGE, "command": ["m"], "triggers": {"manual": True}}}})
    assert project.jobs["migrate"].command == ("m",)
    assert problems({"jobs": {"m": {**IMAGE, "restart": "no"}}})[0][:2] == (
        "jobs.m.restart", "refused: a job runs once; this key is for services"
    )  # fmt: skip


def test_a_schedule_is_refused() -> None:
    found = problems({"jobs": {"m": {**IMAGE, "triggers": {"schedule": [{"cron": "* * * * *"}]}}}})
    assert found == [
        ("jobs.m.triggers.schedule", "refused: gocker has no daemon; call it from cron", None)
    ]


def test_a_wrong_service_is_not_also_reported_as_missing() -> None:
    services = {
        "db": {"cpus": "many", "depends_on": {"web": {}}},
        "web": {"restart": "always", "depends_on": {"db": {}}, "volumes": [
            {"type": "volume", "source": "data", "target": "/d"}]},
    }  # fmt: skip
    found = problems({"services": services, "volumes": {"data": {"name": 5}}})
    assert [path for path, *_ in found] == ["services.db.cpus", "volumes.data.name"]


def test_what_the_builder_does_not_have_is_refused_by_name() -> None:
    build = {"context": ".", "args": {"A": "1"}, "target": "t"}
    assert load({"services": {"a": {"build": build}}}).services["a"].build is not None
    ((path, message, _),) = problems({"services": {"a": {"build": {**build, "ssh": ["x"]}}}})
    assert path == "services.a.build.ssh"
    assert message.startswith("not built yet: ")
