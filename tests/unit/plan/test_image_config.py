"""What a container takes from its image, and what its service says otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from gocker.errors import PlanError
from gocker.image.resolve import RootFs
from gocker.plan.build import build
from gocker.plan.container import Host
from gocker.plan.model import Healthcheck, Plan, Prepare
from gocker.spec.model import load
from gocker.spec.model.roles import roles

IMAGE = RootFs(
    ("/lower",), env={"PATH": "/image", "A": "image"}, entrypoint=("entry",), command=("cmd", "1"),
    working_dir="/work", user="alice:staff", stop_signal="SIGQUIT", volumes=("/data", "/more"),
    healthcheck={"Test": ["CMD-SHELL", "probe"], "Interval": 5 * 10**9, "Retries": 7},
    root=(0o711, 1, 2), digest="sha256:x",
)  # fmt: skip


LIMITS = dict.fromkeys(("RLIMIT_CORE", "RLIMIT_MEMLOCK", "RLIMIT_NOFILE"), 1 << 30)


def plan(image: RootFs = IMAGE, **service: Any) -> Plan:
    model = {"name": "p", "services": {"a": {"image": "i", **service}}}
    project = load(model, lambda _: None)
    host = Host(rootfs=lambda _: image, volumes_root="/volumes", hard_limits=LIMITS, cpus=1)
    return build(project, roles(project), host)


def process(**service: Any) -> Any:
    return plan(**service).containers["a"].config["process"]


@pytest.mark.parametrize(
    ("service", "args"),
    [
        ({}, ["entry", "cmd", "1"]),
        ({"command": ["x"]}, ["entry", "x"]),
        ({"command": []}, ["entry"]),
        ({"entrypoint": ["e"]}, ["e"]),
        ({"entrypoint": ["e"], "command": ["x"]}, ["e", "x"]),
        ({"entrypoint": [], "command": ["x"]}, ["x"]),
    ],
)
def test_entrypoint_and_command(service: dict[str, Any], args: list[str]) -> None:
    assert process(**service)["args"] == args


def test_an_entrypoint_that_is_cleared_leaves_no_command() -> None:
    with pytest.raises(PlanError, match="no command"):
        process(entrypoint=[])


def test_the_environment_is_the_images_and_the_services_over_it() -> None:
    env = process(environment={"A": "service", "B": "1"})["env"]
    assert {"PATH=/image", "A=service", "B=1"} <= set(env)


def test_user_directory_and_root() -> None:
    assert process()["user"]["username"] == "alice:staff"
    assert process(user="7:8")["user"]["uid"] == 7
    assert process()["cwd"] == "/work"
    assert process(working_dir="/own")["cwd"] == "/own"
    assert plan().containers["a"].root == (0o711, 1, 2)


def test_stop_signal() -> None:
    assert plan().units["a"].stop_signal == 3
    assert plan(stop_signal="SIGINT").units["a"].stop_signal == 2


def test_the_healthcheck_is_merged_field_by_field() -> None:
    probe = ("/bin/sh", "-c", "probe")
    assert plan().units["a"].health == Healthcheck(probe, interval_s=5.0, retries=7)
    own = plan(healthcheck={"timeout": "3s"}).units["a"].health
    assert own == Healthcheck(probe, interval_s=5.0, timeout_s=3.0, retries=7)
    other = plan(healthcheck={"test": ["CMD", "x"]}).units["a"].health
    assert other == Healthcheck(("x",), interval_s=5.0, retries=7)
    assert plan(healthcheck={"disable": True}).units["a"].health is None
    none = RootFs(("/l",), command=("x",), healthcheck={"Test": ["NONE"]})
    assert plan(none).units["a"].health is None


def test_volumes_of_the_image_that_nothing_is_mounted_on() -> None:
    mount = {"type": "tmpfs", "target": "/more"}
    container = plan(volumes=[mount]).containers["a"]
    assert container.prepare == (Prepare("anonymous", "/data", copy="/data"),)
    found = {entry["destination"]: entry for entry in container.config["mounts"]}
    assert found["/data"]["type"] == "bind"
    assert found["/more"]["type"] == "tmpfs"


def test_new_volumes_begin_with_the_images_files_unless_told_otherwise() -> None:
    def copies(image: RootFs, **more: Any) -> list[str]:
        volume = {"type": "volume", "source": "v", "target": "/data", **more}
        model = {"name": "p", "services": {"a": {"image": "i", "volumes": [volume]}},
                 "volumes": {"v": {}}}  # fmt: skip
        project = load(model, lambda _: None)
        host = Host(rootfs=lambda _: image, volumes_root="/volumes", hard_limits=LIMITS, cpus=1)
        made = build(project, roles(project), host).containers["a"]
        return [item.copy for item in made.prepare if item.kind == "volume"]

    assert copies(IMAGE) == ["/data"]
    assert copies(IMAGE, volume={"nocopy": True}) == [""]
    # The host's own files are no image's.
    assert copies(RootFs(("/",), hidden=("/root",), command=("x",))) == [""]


def test_a_built_image_is_named_after_the_project() -> None:
    model = {"name": "p", "services": {"a": {"build": {"context": "."}, "command": ["x"]}}}
    project = load(model, lambda _: None)
    asked: list[str] = []

    def rootfs(reference: str) -> RootFs:
        asked.append(reference)
        return IMAGE

    made = build(
        project, roles(project), Host(rootfs=rootfs, volumes_root="/v", hard_limits=LIMITS)
    )
    assert set(asked) == {"p-a"}
    assert made.units["a"].image == "p-a"
