"""The README's commands, as a new user gives them: in a fresh copy, with nothing prepared."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
FIRST, SECOND = re.findall(r"```sh\n(.+?)\n```", README, re.DOTALL)[:2]
# What git does not keep: the copy is what a clone would be.
IGNORED = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", ".hypothesis")


def shell(command: str, directory: Path, top: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line where `python3` has no ensurepip, as without Debian's python3-venv."""
    environment = os.environ | {
        "PATH": f"{top}/bin:{os.environ['PATH']}",
        "PYTHONPATH": f"{top}/without",
        "GOCKER_DATA_ROOT": f"{top}/data",
        "GOCKER_RUN_ROOT": f"{top}/live",
    }
    return subprocess.run(
        ["sh", "-c", command], cwd=directory, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("new")
    shutil.copytree(ROOT, directory / "gocker", ignore=IGNORED)
    (directory / "elsewhere").mkdir()
    (directory / "without").mkdir()
    (directory / "without" / "ensurepip.py").write_text("raise ImportError('not installed')\n")
    (directory / "bin").mkdir()
    # The interpreter behind the tests' environment, which is the one that has pip.
    python = directory / "bin" / "python3"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(os.path.realpath(sys.executable))} "$@"\n')
    python.chmod(0o755)
    yield directory
    shell("gocker/.venv/bin/gocker down -p demo --volumes", directory, directory)


@pytest.fixture(scope="module")
def demo(top: Path) -> subprocess.CompletedProcess[str]:
    return shell(FIRST, top / "gocker", top)


def test_the_first_command_runs_the_demo(demo: subprocess.CompletedProcess[str]) -> None:
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "8 jobs: 6 ok, 1 oom, 1 pids; " in demo.stderr


def test_the_installed_wheel_brings_the_demo(demo: object, top: Path) -> None:
    run = shell("../gocker/.venv/bin/gocker demo", top / "elsewhere", top)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "/site-packages/gocker/data/specs/demo.yaml" in run.stderr


def test_the_installed_wheel_starts_nothing_from_the_checkout(demo: object, top: Path) -> None:
    where = shell(
        "../gocker/.venv/bin/python -c 'import gocker; print(gocker.__file__)'",
        top / "elsewhere", top,
    )  # fmt: skip
    assert "/site-packages/gocker/" in where.stdout


def test_the_second_command_is_what_ci_runs() -> None:
    assert SECOND == "sh .ci/test"
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith('test" </dev/null')
