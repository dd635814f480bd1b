from __future__ import annotations

from pathlib import Path

import pytest

from gocker.errors import HostError
from gocker.plan.model import Container, Plan, Unit
from gocker.state import planfile
from gocker.state.roots import Roots
from gocker.state.run import Run

SECRET = "canary"


def plan(*env: str, mask: tuple[str, ...] = ()) -> Plan:
    config = {
        "ociVersion": "1.0.2", "root": {"path": "rootfs"}, "mounts": [],
        "process": {"args": ["true"], "cwd": "/", "env": list(env)},
        "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}},
    }  # fmt: skip
    made = Container(
        config=config, lower=("/a", "/b"),  # type: ignore[arg-type]  # as JSON has it
        grants=({"path": "/run/secrets/s", "content": SECRET, "mode": 0o400},),
    )  # fmt: skip
    return Plan("p", {"web": Unit("web", "web", "host:/")}, {"web": made}, mask=mask)


@pytest.fixture
def run(roots: Roots) -> Run:
    return Run.create(roots, "p", ())


def test_a_container_comes_back_without_what_is_secret(run: Run) -> None:
    planfile.write(run, plan("A=1", f"TOKEN=x{SECRET}x", "B=2", mask=(SECRET,)))
    text = Path(run.path, planfile.NAME).read_text()
    assert SECRET not in text
    stored = planfile.read(run)
    made = stored.container("web")
    assert made.config["process"]["env"] == ["A=1", "B=2"]
    assert made.config["linux"] == {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}
    assert made.lower == ("/a", "/b")
    assert made.grants[0]["content"] == ""
    assert stored.withheld("web") == ["TOKEN"]


def test_the_plan_in_memory_keeps_its_secrets(run: Run) -> None:
    made = plan(f"TOKEN={SECRET}", mask=(SECRET,))
    planfile.write(run, made)
    assert made.containers["web"].grants[0]["content"] == SECRET
    assert made.containers["web"].config["process"]["env"] == [f"TOKEN={SECRET}"]


def test_only_we_may_read_it(run: Run) -> None:
    planfile.write(run, plan())
    assert Path(run.path, planfile.NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"schema": 2}', b'{"schema": "1"}', b"[" * 100_000, b"\xff"]
)
def test_a_damaged_or_newer_one_is_an_error(run: Run, content: bytes) -> None:
    Path(run.path, planfile.NAME).write_bytes(content)
    with pytest.raises(HostError):
        planfile.read(run)


@pytest.mark.parametrize("content", [b'{"schema": 1}', b'{"schema": 1, "plan": 7, "shared": []}'])
def test_one_without_a_plan_tells_no_container(run: Run, content: bytes) -> None:
    Path(run.path, planfile.NAME).write_bytes(content)
    with pytest.raises(HostError, match="web"):
        planfile.read(run).container("web")


def test_a_missing_one_of_a_finished_run_is_an_error_at_once(run: Run) -> None:
    run.close()
    with pytest.raises(HostError, match=run.id):
        planfile.read(run)


def test_a_link_is_not_followed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "other").write_text('{"schema": 1}')
    Path(run.path, planfile.NAME).symlink_to(tmp_path / "other")
    with pytest.raises(HostError):
        planfile.read(run)
