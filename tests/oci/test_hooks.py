"""config.md "POSIX-platform Hooks": when, where and with what they run, and what a failure does."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.oci import Runtime

pytestmark = pytest.mark.root

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
IN_CONTAINER = ("createContainer", "startContainer")


def script(text: str, **more: Any) -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", text], **more}


@pytest.fixture
def shared(runtime: Runtime, tmp_path: Path) -> Path:
    """Return a directory that has the same path on the host and in the container."""
    directory = tmp_path / "shared"
    directory.mkdir()
    directory.chmod(0o777)
    runtime.config["mounts"].append(
        {"destination": str(directory), "type": "bind", "source": str(directory),
         "options": ["bind"]}
    )  # fmt: skip
    return directory


def test_all_hooks_run_in_the_specified_order(runtime: Runtime, shared: Path) -> None:
    log = shared / "log"
    runtime.config["hooks"] = {
        kind: [script(f"echo {kind}{number} >> {log}") for number in (1, 2)] for kind in KINDS
    }
    pid = runtime.create("/bin/sh", "-c", f"echo program >> {log}")
    created = [f"{kind}{number}" for kind in KINDS[:3] for number in (1, 2)]
    assert log.read_text().split() == created
    runtime.start()
    runtime.wait(pid)
    started = log.read_text().split()[len(created) :]
    # The program and the poststart hooks run side by side.
    assert started[:2] == ["startContainer1", "startContainer2"]
    assert sorted(started[2:]) == ["poststart1", "poststart2", "program"]
    runtime.delete()
    assert log.read_text().split()[-2:] == ["poststop1", "poststop2"]


def test_the_state_is_on_standard_input_of_every_hook(runtime: Runtime, shared: Path) -> None:
    runtime.config["annotations"] = {"key": "value"}
    runtime.config["hooks"] = {kind: [script(f"cat > {shared}/{kind}")] for kind in KINDS}
    pid = runtime.create("/bin/sleep", "100")
    runtime.start()
    runtime.delete("--force")
    expected = {
        "prestart": "created", "createRuntime": "created", "createContainer": "created",
        "startContainer": "created", "poststart": "running", "poststop": "stopped",
    }  # fmt: skip
    for kind in KINDS:
        state = json.loads((shared / kind).read_text())
        assert state["ociVersion"].startswith("1."), kind
        assert state["id"] == runtime.name, kind
        assert state["status"] == expected[kind], kind
        assert state["bundle"] == str(runtime.bundle), kind
        assert state["annotations"] == {"key": "value"}, kind
        assert state["pid"] == (0 if kind == "poststop" else pid), kind


def test_hooks_run_in_the_namespaces_of_their_kind(runtime: Runtime, shared: Path) -> None:
    runtime.config["hooks"] = {
        kind: [script(f"for n in mnt net; do readlink /proc/self/ns/$n; done > {shared}/{kind}")]
        for kind in KINDS
    }
    pid = runtime.create("/bin/sleep", "100")
    runtime.start()
    theirs = [os.readlink(f"/proc/{pid}/ns/{name}") for name in ("mnt", "net")]
    runtime.delete("--force")
    ours = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "net")]
    for kind in KINDS:
        found = (shared / kind).read_text().split()
        assert found == (theirs if kind in IN_CONTAINER else ours), kind


def test_a_path_resolves_on_the_host_but_for_start_container(
    runtime: Runtime, shared: Path, tmp_path: Path
) -> None:
    """The same path is another program on either side."""
    program = tmp_path / "which"
    program.write_text(f"#!/bin/sh\necho host >> {shared}/log\n")
    program.chmod(0o755)
    inside = Path(f"{runtime.rootfs}{program}")
    inside.parent.mkdir(parents=True)
    inside.write_text(f"#!/bin/sh\necho container >> {shared}/log\n")
    inside.chmod(0o755)
    runtime.config["hooks"] = {kind: [{"path": str(program)}] for kind in KINDS}
    runtime.run("/bin/true")
    found = (shared / "log").read_text().split()
    assert found == ["host", "host", "host", "container", "host", "host"]


def test_args_and_env_are_what_the_hook_gets(runtime: Runtime, shared: Path) -> None:
    text = f'echo "$0 $1" > {shared}/args; env | sort > {shared}/env'
    hook = {"path": "/bin/sh", "args": ["sh", "-c", text, "zero", "one"], "env": ["A=1", "B=x=y"]}
    runtime.config["hooks"] = {"createRuntime": [hook]}
    runtime.run("/bin/true")
    assert (shared / "args").read_text() == "zero one\n"
    assert {"A=1", "B=x=y"} <= set((shared / "env").read_text().split())
    assert "HOME=" not in (shared / "env").read_text()


@pytest.mark.parametrize("kind", KINDS[:5])
def test_a_failed_hook_ends_the_container(runtime: Runtime, shared: Path, kind: str) -> None:
    """Step 12 of the life cycle: it is destroyed, and the poststop hooks are called."""
    runtime.config["hooks"] = {
        kind: [script("echo because >&2; exit 3"), script(f"echo second > {shared}/second")],
        "poststop": [script(f"echo called > {shared}/poststop")],
    }
    result = runtime.run("/bin/sleep", "100", check=False)
    assert result.returncode == 1
    assert f"{kind} hook failed with exit code 3: because" in result.stderr
    assert not (shared / "second").exists()
    assert (shared / "poststop").read_text() == "called\n"
    assert not runtime.exists()


def test_a_failed_poststop_hook_is_a_warning(runtime: Runtime, shared: Path) -> None:
    runtime.config["hooks"] = {
        "poststop": [script("exit 4"), script(f"echo called > {shared}/second")]
    }
    result = runtime.run("/bin/true")
    assert "level=warning" in result.stderr
    assert "poststop hook failed with exit code 4" in result.stderr
    assert (shared / "second").read_text() == "called\n"


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
def test_a_hook_that_takes_too_long_is_killed(runtime: Runtime, shared: Path, kind: str) -> None:
    text = f"sleep 100 & echo $! > {shared}/child; wait"
    runtime.config["hooks"] = {kind: [script(text, timeout=1)]}
    result = runtime.run("/bin/true", check=False)
    assert result.returncode == 1
    assert "timed out after 1 s" in result.stderr


@pytest.mark.parametrize("hook", [
    {"path": "relative"}, {"path": "/nothing/there"}, {"path": "/bin/true", "timeout": 0},
    {"path": "/bin/true", "timeout": -1}, {"path": ""}, {},
])  # fmt: skip
def test_a_hook_that_cannot_be_is_an_error(runtime: Runtime, hook: dict[str, Any]) -> None:
    runtime.config["hooks"] = {"createRuntime": [hook]}
    assert runtime.run("/bin/true", check=False).returncode == 1
    assert not runtime.exists()
