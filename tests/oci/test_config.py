"""config.md and config-linux.md: what a configuration must be, before anything is made of it."""

from __future__ import annotations

import copy
import os
from typing import Any

import pytest

from gocker.errors import ConfigError
from gocker.runtime.oci import bundle, template
from tests.support.oci import Runtime, config


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return a valid configuration with one property set, or removed by `...`."""
    made = copy.deepcopy(config())
    made["root"]["path"] = "/"
    *parents, last = path.split(".")
    where: Any = made
    for key in parents:
        where = where[int(key)] if isinstance(where, list) else where.setdefault(key, {})
    if value is ...:
        del where[last]
    elif isinstance(where, list):
        where[int(last)] = value
    else:
        where[last] = value
    return made


@pytest.mark.parametrize(("path", "value"), [
    ("ociVersion", ...), ("ociVersion", "invalid"), ("ociVersion", "2.0.0"), ("root", ...),
    ("root.path", ...), ("root.path", "/nothing/there"), ("process.cwd", ...),
    ("process.cwd", "relative"), ("process.args", []), ("process.args", [1]),
    ("process.user.uid", -1), ("process.user.uid", 1 << 32), ("process.user.uid", "0"),
    ("process.terminal", "yes"), ("process.noNewPrivileges", 1),
    ("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1}] * 2),
    ("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": 1}]),
    ("mounts.0.destination", ...), ("mounts.0.options", "ro"), ("annotations", {"key": 1}),
    ("hooks.createRuntime", [{"path": "relative"}]), ("hooks.poststop", {}),
    ("linux.namespaces.0.type", "nonsense"), ("linux.namespaces.0", {"type": "mount"}),
    ("linux.namespaces.0.path", "relative"), ("linux.resources.memory.limit", "64m"),
    ("linux.resources.pids.limit", 1 << 64), ("linux.sysctl", {"kernel.panic": "1"}),
    ("linux.cgroupsPath", 1), ("linux.seccomp", {}), ("linux.intelRdt", {"closID": "x"}),
])  # fmt: skip
def test_what_is_wrong_is_named(path: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        bundle.check(changed(path, value), "/")
    assert path.split(".")[-2 if path.split(".")[-1].isdigit() else -1] in caught.value.message


@pytest.mark.parametrize(("path", "value"), [
    ("unknown", {"any": [1]}), ("process.unknown", 1), ("linux.unknown", None), ("process", ...),
    ("ociVersion", "1.0.0"), ("ociVersion", "1.9.9-dev"), ("hostname", None), ("hooks", None),
    ("linux.resources", None), ("annotations", {"org.unknown": "x"}), ("windows", {"x": 1}),
])  # fmt: skip
def test_what_is_unknown_or_absent_is_no_mistake(path: str, value: Any) -> None:
    bundle.check(changed(path, value), "/")


def test_names_count_in_any_case_as_for_the_callers() -> None:
    checked = bundle.check(changed("linux.resources.Memory", {"LIMIT": 5}), "/")
    assert checked["linux"]["resources"]["memory"] == {"limit": 5}


def test_features_names_what_the_configuration_takes() -> None:
    found = template.features()
    assert found["ociVersionMin"] == "1.0.0"
    assert set(found["hooks"]) >= {"createRuntime", "poststop"}
    assert {"rbind", "ro", "rro", "idmap"} <= set(found["mountOptions"])
    for kind in found["linux"]["namespaces"]:
        entries = [{"type": "mount"}, *([{"type": kind}] if kind != "mount" else [])]
        bundle.check(changed("linux.namespaces", entries), "/")


@pytest.mark.root
def test_a_configuration_that_cannot_be_leaves_nothing(runtime: Runtime) -> None:
    runtime.config["linux"]["resources"] = {"cpu": {"cpus": "9999"}}
    result = runtime.run("/bin/true", check=False)
    assert result.returncode == 1
    assert not runtime.exists()


@pytest.mark.root
def test_spec_writes_what_runs(runtime: Runtime) -> None:
    runtime.command("spec", "--bundle", str(runtime.bundle))
    again = runtime.command("spec", "--bundle", str(runtime.bundle), check=False)
    assert again.returncode == 1
    runtime.config = bundle.load(str(runtime.bundle / "config.json"))
    runtime.config["process"]["terminal"] = False
    assert runtime.run("/bin/sh", "-c", "echo works").stdout == "works\n"


def test_cpus_of_further_processes(runtime: Runtime) -> None:
    last = max(os.sched_getaffinity(0))
    runtime.config["process"]["execCPUAffinity"] = {"initial": "0", "final": str(last)}
    pid = runtime.create("/bin/sleep", "100")
    runtime.start()
    assert os.sched_getaffinity(pid) == os.sched_getaffinity(0)  # not of the first one
    done = runtime.command(
        "exec", runtime.name, "busybox", "grep", "Cpus_allowed_list", "/proc/self/status"
    )
    assert done.stdout.split()[1] == str(last)
    runtime.delete("--force")


def test_cpus_that_are_not_there_are_an_error(runtime: Runtime) -> None:
    for when in ("initial", "final"):
        runtime.config["process"]["execCPUAffinity"] = {when: "4000"}
        runtime.create("/bin/sleep", "100")
        runtime.start()
        done = runtime.command("exec", runtime.name, "true", check=False)
        assert done.returncode == 255
        assert f"process.execCPUAffinity.{when}: '4000'" in done.stderr
        runtime.delete("--force")
