"""The security profiles, and what is told of a service that is confined less."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gocker.errors import PlanError
from gocker.image.resolve import RootFs
from gocker.plan import posture, profiles, security
from gocker.plan.build import build
from gocker.plan.container import Host
from gocker.plan.model import Container, Plan
from gocker.spec.model import load
from gocker.spec.model.roles import roles

LIMITED = {"user": "1000:1000", "mem_limit": "64m", "cpus": 1}
STRICT = {**LIMITED, "x-gocker": {"profile": "strict"}}


def plan(services: dict[str, Any], top: Any = None) -> Plan:
    host = Host(
        rootfs=lambda _: RootFs(("/lower",)), volumes_root="/volumes", cpus=2,
        hard_limits=dict.fromkeys(("RLIMIT_CORE", "RLIMIT_MEMLOCK", "RLIMIT_NOFILE"), 1 << 30),
    )  # fmt: skip
    made = {name: {"command": ["true"], **service} for name, service in services.items()}
    project = load({"name": "p", "services": made, "x-gocker": top}, lambda _: None)
    return build(project, roles(project), host)


def container(top: Any = None, **keys: Any) -> Container:
    service = {key.replace("x_gocker", "x-gocker"): value for key, value in keys.items()}
    return plan({"a": service}, top).containers["a"]


def weaker(made: Container) -> dict[str, str]:
    return {item.name: item.because for item in security.weakenings(made)}


def test_nothing_is_weaker_by_default() -> None:
    assert weaker(container()) == {}


def test_compat_is_dockers() -> None:
    made = container(x_gocker={"profile": "compat"})
    process, linux = made.config["process"], made.config["linux"]
    assert process["capabilities"]["bounding"] == sorted(
        posture.DOCKER_CAPS, key=posture.CAPABILITY_NUMBERS.__getitem__
    )
    assert process["noNewPrivileges"] is False
    assert process["oomScoreAdj"] == 0
    assert "pids" not in linux["resources"]
    assert linux["maskedPaths"][: len(posture.DOCKER_MASKED_PATHS)] == [
        *posture.DOCKER_MASKED_PATHS
    ]
    assert made.landlock is None
    allowed = {
        name for rule in linux["seccomp"]["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW"
        for name in rule["names"]
    }  # fmt: skip
    assert {"ptrace", "chroot", "name_to_handle_at"} <= allowed
    assert {"mount", "bpf", "keyctl", "io_uring_setup"} & allowed == set()


def test_all_that_compat_weakens_is_its_own_doing() -> None:
    found = weaker(container(x_gocker={"profile": "compat"}))
    assert set(found) == {
        "capabilities", "no_new_privileges", "seccomp", "landlock", "masked paths", "pids",
    }  # fmt: skip
    assert set(found.values()) == {"x-gocker.profile: compat"}


def test_strict_is_kubernetes_restricted() -> None:
    made = container(**{key.replace("x-gocker", "x_gocker"): it for key, it in STRICT.items()})
    assert made.config["process"]["capabilities"]["bounding"] == []
    assert made.config["root"]["readonly"] is True
    assert {"type": "user"} in made.config["linux"]["namespaces"]
    assert weaker(made) == {}


def test_the_projects_profile_is_for_services_that_have_none() -> None:
    found = plan(
        {"a": {}, "b": {"x-gocker": {"profile": "default"}}}, top={"profile": "compat"}
    ).containers
    assert (found["a"].profile, found["b"].profile) == ("compat", "default")


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"user": "0"}, "user must be a number other than 0"),
        ({"user": "alice"}, "user must be a number other than 0"),
        ({"mem_limit": None}, "mem_limit is missing"),
        ({"cpus": None}, "cpus is missing"),
        ({"pids_limit": -1}, "pids_limit must be a limit"),
        ({"cap_add": ["NET_ADMIN"]}, "cap_add may name NET_BIND_SERVICE only"),
        ({"cap_add": ["ALL"]}, "cap_add may name NET_BIND_SERVICE only"),
        ({"network_mode": "host"}, "network_mode must not be host"),
        ({"security_opt": ["seccomp=unconfined"]}, "must not have seccomp=unconfined"),
        ({"security_opt": ["no-new-privileges:false"]}, "must not have no-new-privileges:false"),
        ({"security_opt": ["systempaths=unconfined"]}, "must not have systempaths=unconfined"),
        ({"security_opt": ["unmask=/proc/kcore"]}, "must not have unmask=/proc/kcore"),
        ({"devices": [{"source": "/dev/null"}]}, "devices are forbidden"),
        ({"volumes": [{"type": "bind", "source": "/x", "target": "/x"}]}, "bind mount of '/x'"),
    ],
)  # fmt: skip
def test_strict_refuses(keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        plan({"a": {**STRICT, **keys}})


def test_strict_allows_low_ports_and_volumes() -> None:
    service = {**STRICT, "cap_add": ["NET_BIND_SERVICE"]}
    made = plan({"a": service}).containers["a"]
    assert made.config["process"]["capabilities"]["ambient"] == ["CAP_NET_BIND_SERVICE"]


@pytest.mark.parametrize(
    ("keys", "name", "because"),
    [
        ({"cap_add": ["NET_RAW"]}, "capabilities", ""),
        ({"cap_add": ["SYS_ADMIN"]}, "landlock", "cap_add: SYS_ADMIN"),
        ({"security_opt": ["seccomp=unconfined"]}, "seccomp", "security_opt: seccomp=unconfined"),
        ({"network_mode": "host"}, "network namespace", "network_mode: host"),
        ({"pids_limit": -1}, "pids", "pids_limit: -1"),
        ({"oom_score_adj": -5}, "oom_score_adj", "oom_score_adj: -5"),
        ({"x_gocker": {"landlock": "off"}}, "landlock", "x-gocker.landlock: off"),
        ({"security_opt": ["no-new-privileges:false"]}, "no_new_privileges",
         "security_opt: no-new-privileges:false"),
        ({"security_opt": ["systempaths=unconfined"]}, "masked paths", "security_opt: unmask"),
        ({"security_opt": ["unmask=/proc/sys"]}, "read-only paths", "security_opt: unmask"),
        ({"volumes": [{"type": "bind", "source": "/etc", "target": "/e"}]}, "bind mounts",
         "volumes: /etc"),
    ],
)  # fmt: skip
def test_what_is_weaker_is_told_with_its_key(keys: Any, name: str, because: str) -> None:
    found = weaker(container(**keys))
    assert found[name] == because or (not because and found[name].startswith("cap_add"))


def test_an_ordinary_bind_mount_is_not_weaker() -> None:
    made = container(volumes=[{"type": "bind", "source": "/srv/data", "target": "/d"}])
    assert weaker(made) == {}


def test_the_event_is_once_for_a_service() -> None:
    notes = plan({"a": {"scale": 3, "network_mode": "host"}}).notes
    (note,) = [fields for name, fields in notes if name == "security.relaxed"]
    assert (note["service"], note["instance"], note["profile"]) == ("a", "a-1", "default")
    assert [item["what"] for item in note["weaker"]] == ["network namespace"]


def test_scopes_are_for_what_is_shared() -> None:
    made = container()
    assert made.landlock is not None
    assert (made.landlock.scopes, made.landlock.for_exec()) == ((), {})
    made = container(network_mode="host")
    assert made.landlock is not None
    assert made.landlock.scopes == ("abstract",)
    assert made.landlock.for_exec() == {"landlock": {"scopes": ["abstract"]}}


def test_every_profile_has_its_name() -> None:
    assert all(name == profile.name for name, profile in profiles.PROFILES.items())


def test_a_profile_file_that_allows_more_is_weaker(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    rule = {"names": ["read", "socket"], "action": "SCMP_ACT_ALLOW"}
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}))
    found = weaker(container(security_opt=[f"seccomp={path}"]))
    # socket(2) is allowed with some of its arguments only by default.
    assert found["seccomp"] == "security_opt: seccomp, which allows 1 calls more"
    rule["names"] = ["read"]
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}))
    assert weaker(container(security_opt=[f"seccomp={path}"])) == {}
