"""Checks between keys, and of names the kernel knows."""

from __future__ import annotations

import os
from typing import Any

import pytest

from gocker.errors import SpecError
from gocker.spec.model import Project
from gocker.spec.model.roles import roles

HOST = {"network_mode": "host"}


def load(services: dict[str, Any], **top: Any) -> Project:
    return Project.from_canonical({"name": "p", "services": services, **top}, lambda _: None)


def problem(services: dict[str, Any], **top: Any) -> tuple[str, str, str | None]:
    with pytest.raises(SpecError) as caught:
        load(services, **top)
    (only,) = caught.value.problems
    return only.path, only.message, only.hint


def one(**keys: Any) -> tuple[str, str]:
    path, message, _ = problem({"a": keys})
    return path.removeprefix("services.a."), message


def test_a_dependency_must_exist() -> None:
    path, message, _ = problem({"a": {"depends_on": {"b": {}}}})
    assert (path, message) == ("services.a.depends_on.b", "there is no service 'b'")


def test_an_optional_dependency_may_be_absent() -> None:
    load({"a": {"depends_on": {"b": {"required": False}}}})


@pytest.mark.parametrize("healthcheck", [{}, {"healthcheck": {"disable": True}},
                                         {"healthcheck": {"test": ["NONE"]}},
                                         {"healthcheck": {"interval": "1s"}}])  # fmt: skip
def test_only_a_health_check_makes_healthy(healthcheck: dict[str, Any]) -> None:
    services = {"db": healthcheck, "a": {"depends_on": {"db": {"condition": "service_healthy"}}}}
    path, message, hint = problem(services)
    assert path == "services.a.depends_on.db"
    assert message == "'db' has no healthcheck, so it can never be healthy"
    assert hint is not None


def test_ready_stands_in_for_a_health_check() -> None:
    load(
        {
            "db": {"x-gocker": {"ready": {"log": "ready"}}},
            "a": {"depends_on": {"db": {"condition": "service_healthy"}}},
        }
    )


def test_a_port_can_be_ready_only_where_somebody_can_connect() -> None:
    path, message = one(**{"x-gocker": {"ready": {"port": 1}}})
    assert path == "x-gocker.ready.port"
    assert message == "asks on the host, where the container is not"


def test_ready_beside_a_health_check_is_a_contradiction() -> None:
    it = {"healthcheck": {"test": ["CMD", "x"]}, "x-gocker": {"ready": {"log": "x"}}}
    assert one(**it) == ("x-gocker.ready", "contradicts healthcheck")


@pytest.mark.parametrize("restart", ["always", "unless-stopped"])
def test_a_job_cannot_restart_for_ever(restart: str) -> None:
    path, message, hint = problem({"a": {"restart": restart, "x-gocker": {"role": "job"}}})
    assert (path, message) == ("services.a.restart", f"restart: {restart} never lets a job end")
    assert hint is not None
    assert "x-gocker.role: support" in hint


def test_what_restarts_for_ever_is_a_service_unless_others_wait_for_its_end() -> None:
    project = load({"db": {"restart": "always"}, "a": {"depends_on": {"db": {}}},
                    "web": {"restart": "unless-stopped"}})  # fmt: skip
    assert roles(project) == {"db": "support", "a": "job", "web": "support"}
    condition = {"condition": "service_completed_successfully"}
    path, _, _ = problem({"a": {"restart": "always"}, "b": {"depends_on": {"a": condition}}})
    assert path == "services.a.restart"


def test_in_the_background_a_service_is_one_unless_others_wait_for_its_end() -> None:
    condition = {"condition": "service_completed_successfully"}
    project = load({"init": {}, "web": {"depends_on": {"init": condition}},
                    "job": {"x-gocker": {"role": "job"}}})  # fmt: skip
    assert roles(project, detached=True) == {"init": "job", "web": "support", "job": "job"}
    assert roles(project) == {"init": "job", "web": "job", "job": "job"}


def test_a_job_may_restart_on_failure() -> None:
    load({"a": {"restart": "on-failure:2"}})


def test_the_restart_policy_any_is_for_support_services() -> None:
    policy = {"deploy": {"restart_policy": {"delay": "1s"}}}
    assert one(**policy, **{"x-gocker": {"role": "job"}})[0] == "deploy.restart_policy"
    assert roles(load({"a": policy})) == {"a": "support"}
    load({"a": {"deploy": {"restart_policy": {"condition": "on-failure"}}}})


def test_memswap_needs_a_memory_limit() -> None:
    assert one(memswap_limit="128m") == ("memswap_limit", "has no meaning without mem_limit")
    load({"a": {"memswap_limit": "128m", "deploy": {"resources": {"limits": {"memory": "64m"}}}}})


def test_memswap_includes_the_memory() -> None:
    assert one(mem_limit="64m", memswap_limit="32m")[1] == "is smaller than mem_limit"
    load({"a": {"mem_limit": "64m", "memswap_limit": -1}})


def test_cpus_and_cpu_quota_contradict() -> None:
    assert one(cpus=1, cpu_quota=50000) == ("cpu_quota", "contradicts cpus")


@pytest.mark.parametrize("kind", ["secrets", "configs"])
def test_granted_files_must_be_defined(kind: str) -> None:
    assert one(**{kind: [{"source": "s"}]}) == (f"{kind}[0]", f"no such entry in {kind}: 's'")


def test_named_volumes_must_be_defined() -> None:
    mount = {"type": "volume", "source": "data", "target": "/d"}
    assert one(volumes=[mount]) == ("volumes[0]", "no such volume: 'data'")
    load({"a": {"volumes": [mount]}}, volumes={"data": {"name": "p_data"}})


@pytest.mark.parametrize("kind", ["image", "npipe", "cluster"])
def test_kinds_of_mounts_without_support_are_refused(kind: str) -> None:
    mount = {"type": kind, "source": "x", "target": "/d"}
    assert one(volumes=[mount])[0] == "volumes[0].type"


def test_a_fixed_name_is_for_one_container() -> None:
    assert one(container_name="x", scale=2)[1] == "a fixed name forbids replicas"
    extension = {"matrix": {"A": ["1", "2"]}}
    assert one(container_name="x", **{"x-gocker": extension})[1] == "a fixed name forbids a matrix"


def test_rootfs_stands_for_an_image() -> None:
    it = {"image": "i", "x-gocker": {"rootfs": "/r"}}
    assert one(**it) == ("x-gocker.rootfs", "contradicts image")


def test_unknown_capabilities_have_a_suggestion() -> None:
    assert problem({"a": {"cap_add": ["NET_ADMN"]}}) == (
        "services.a.cap_add[0]", "unknown capability 'NET_ADMN'", "did you mean 'NET_ADMIN'?"
    )  # fmt: skip
    load({"a": {"cap_add": ["cap_net_admin"], "cap_drop": ["ALL"]}})


def test_ulimits_are_the_kernels() -> None:
    assert one(ulimits={"nofiles": 1}) == ("ulimits.nofiles", "unknown ulimit 'nofiles'")
    assert one(ulimits={"nofile": {"soft": 2, "hard": 1}})[1] == (
        "soft limit 2 is above the hard limit 1"
    )
    load({"a": {"ulimits": {"core": -1, "nofile": {"soft": 1, "hard": -1}}}})


def test_stop_signals_are_names_or_numbers() -> None:
    assert one(stop_signal="SIGTREM")[0] == "stop_signal"
    for signal in ("SIGTERM", "int", "9", "SIGRTMIN"):
        load({"a": {"stop_signal": signal}})


def test_sysctls_belong_to_a_namespace() -> None:
    assert one(sysctls={"kernel.panic": "1"})[1].startswith("refused: 'kernel.panic' belongs")
    assert one(sysctls={"net.core.somaxconn": "1"}, **HOST)[1].endswith("the host's network")
    load({"a": {"sysctls": {"net.core.somaxconn": "1", "kernel.shmmax": "1"}}})


def test_security_options() -> None:
    given = ["no-new-privileges:true", "seccomp=./profile.json", "mask=/a", "label=disable"]
    load({"a": {"security_opt": given}})
    assert one(security_opt=["writable-cgroups=true"])[0] == "security_opt[0]"


def test_a_pull_policy_may_be_any_but_refresh() -> None:
    for policy in ("missing", "always", "never", "build", "daily", "weekly", "every_12h"):
        load({"a": {"pull_policy": policy}})
    assert one(pull_policy="refresh") == ("pull_policy", "not built yet: 'refresh'")


def test_the_platform_is_the_hosts() -> None:
    load({"a": {"platform": f"linux/{os.uname().machine}"}})
    assert one(platform="windows/amd64")[0] == "platform"


def test_cdi_devices_are_not_built() -> None:
    assert one(devices=[{"source": "nvidia.com/gpu=all"}])[0] == "devices[0]"


def test_an_entry_of_jobs_is_a_job() -> None:
    path, message, _ = problem({}, jobs={"m": {"x-gocker": {"role": "support"}}})
    assert (path, message) == ("jobs.m.x-gocker.role", "an entry of jobs is a job")
