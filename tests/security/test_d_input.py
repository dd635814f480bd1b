"""2.D: what a spec, an environment and a working directory may do to gocker itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gocker.cli.main import COMMANDS
from tests.support.command import ROOT, Gocker

pytestmark = pytest.mark.root

MODULES = (
    "yaml", "sqlite3", "json", "ctypes", "argparse", "socket", "selectors", "ruamel", "pydantic",
    "structlog", "typing", "re", "enum", "signal", "fcntl_", "resource_", "sitecustomize",
    "usercustomize", "encodings_", "collections", "importlib_metadata",
)  # fmt: skip


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Return a directory with a module of every name that gocker imports; each leaves a trace."""
    directory = tmp_path / "hostile"
    directory.mkdir()
    trap = f"open({str(tmp_path / 'sentinel')!r}, 'a').write(__name__ + chr(10))\n"
    for name in MODULES:
        (directory / f"{name}.py").write_text(trap)
    for module in (ROOT / "gocker").rglob("*.py"):
        target = directory / module.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(trap)
    (directory / "startup.py").write_text(trap)
    return directory


def _environ(gocker: Gocker, hostile: Path) -> dict[str, str]:
    return {
        "PATH": gocker.environ["PATH"], "GOCKER_DATA_ROOT": str(gocker.data),
        "GOCKER_RUN_ROOT": str(gocker.live), "PYTHONSTARTUP": str(hostile / "startup.py"),
        "PYTHONINSPECT": "", "PYTHONUSERBASE": str(hostile), "HOME": str(hostile),
        "PYTHONPYCACHEPREFIX": str(hostile), "PYTHONBREAKPOINT": "startup.x",
    }  # fmt: skip


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Return what an installed `gocker` is: a script beside its interpreter."""
    path = tmp_path / "gocker"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nfrom gocker.cli.main import main\nsys.exit(main())\n"
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_d08_no_module_is_taken_from_the_working_directory(
    gocker: Gocker, hostile: Path, script: Path, tmp_path: Path, command: str
) -> None:
    spec = gocker.write({"services": {"job": {"command": ["true"]}}})
    argv = [command, str(spec)] if command in ("up", "config", "validate", "graph") else [command]
    environ = _environ(gocker, hostile)
    for way in ([str(script)], [sys.executable, "-I", "-X", "utf8", "-m", "gocker"]):
        if way[0] == str(script):
            environ = {**environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(
            [*way, *argv], cwd=hostile, env=environ, capture_output=True,
            stdin=subprocess.DEVNULL, timeout=120,
            preexec_fn=gocker.nest.enter,
        )  # fmt: skip
    gocker.note_runs()
    sentinel = tmp_path / "sentinel"
    assert not sentinel.exists(), sentinel.read_text()


# What Python itself imports before `-m` is looked at cannot be kept from it: docs/security.md.
BEFORE = ("collections", "re", "typing", "enum")


def test_d08_python_m_in_a_hostile_directory_imports_nothing_for_gocker_from_it(
    gocker: Gocker, hostile: Path, tmp_path: Path
) -> None:
    shutil.rmtree(hostile / "gocker")  # it is what `python -m gocker` there means
    for name in BEFORE:
        (hostile / f"{name}.py").unlink()
    environ = {**_environ(gocker, hostile), "PYTHONPATH": str(ROOT)}
    for argv in (["version"], ["config", str(gocker.write("name: x\nservices: {}\n"))]):
        result = subprocess.run([sys.executable, "-m", "gocker", *argv], cwd=hostile, env=environ,
                                capture_output=True, text=True)  # fmt: skip
        assert result.returncode == 0, result.stderr
    assert not (tmp_path / "sentinel").exists()


def test_d08_the_launcher_is_isolated(gocker: Gocker) -> None:
    running = gocker.start({"services": {"job": {"command": ["sleep", "1000"]}}},
                           environ={"PYTHONPATH": f"{ROOT}:/nowhere", "SECRET": "s"})  # fmt: skip
    running.wait_for("container.started")
    environ = Path(f"/proc/{running.launcher()}/environ").read_bytes()
    title = Path(f"/proc/{running.launcher()}/cmdline").read_bytes().rstrip(b"\0")
    running.send(15)
    running.finish()
    assert environ == b""
    assert title == b"gocker-launcher"


@pytest.mark.parametrize("place", ["gocker", "gocker/runtime", "gocker/linux/__pycache__"])
def test_d08_code_that_others_can_write_is_refused(
    gocker: Gocker, tmp_path: Path, place: str
) -> None:
    shutil.copytree(ROOT / "gocker", tmp_path / "lib/gocker")
    (tmp_path / "lib" / place).mkdir(exist_ok=True)
    (tmp_path / "lib" / place).chmod(0o777)
    environ = {**os.environ, **gocker.environ, "PYTHONPATH": str(tmp_path / "lib")}
    command = [sys.executable, "-m", "gocker", "version"]
    result = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 3
    assert f"others can write to gocker's own code in '{tmp_path}/lib/{place}'" in result.stderr
    assert "chmod -R o-w" in result.stderr
