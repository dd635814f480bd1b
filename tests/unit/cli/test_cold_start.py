"""What may be imported before the first container is asked for: modules, since times are noisy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# Runs `up` with a launcher that answers as the real one, up to the first start.
PROGRAM = """
import os, sys
sys.path.insert(0, sys.argv[1])
from gocker.cli import main
from gocker.scheduler import spawn
at_spawn = sorted(sys.modules)
from gocker.scheduler.launcher import Launcher
def ask(self, message, fds=()):
    pass
def answer(self):
    return {"cgroup": "v2", "cgroups": [], "controllers": ["cgroup", "pids"], "landlock": 7,
            "read_only": True}
def send(self, message, fds=(), close=()):
    if message["op"] == "start":
        at_start = sorted(sys.modules)
        import json
        os.write(1, json.dumps([at_spawn, at_start]).encode())
        KEEP
        os._exit(0)
Launcher.ask, Launcher.answer, Launcher.send = ask, answer, send
spawn.spawn = lambda: (0, spawn._socket.socketpair()[0])
sys.exit(main.run(["up", "-q", "spec.yaml"]))
"""
# Stores the plan although the run does not end.
KEEPING = PROGRAM.replace("KEEP\n", "kept[0]()\n").replace(
    "sys.exit(",
    """
from gocker.cli import up
kept = []
plan = up._plan
def planned(*arguments, **options):
    made = plan(*arguments, **options)
    kept.append(made[2])
    return made
up._plan = planned
sys.exit(""",
)
# Each costs more than all of the scheduler, and none is needed to start a container.
NEVER = {
    "_hashlib", "_ssl", "ast", "asyncio", "dataclasses", "datetime", "difflib", "hashlib",
    "inspect", "locale", "logging", "pathlib", "pydantic", "random", "rich", "shutil", "socket",
    "ssl", "string", "structlog", "subprocess", "tempfile", "textwrap", "threading", "typing",
    "unicodedata", "urllib", "uuid",
    "gocker.cli.reports", "gocker.oci", "gocker.report.junit", "gocker.report.table",
    "gocker.state.containers", "gocker.state.logs",
}  # fmt: skip
# The spec's models are checked with tables made from type annotations.
WITHOUT_CACHE = {"typing"}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> list[set[str]]:
    """Return the modules when the launcher is spawned, at a first start, and at a second."""
    top = tmp_path_factory.mktemp("start")
    (top / "roots").mkdir(mode=0o700)
    (top / "spec.yaml").write_text("name: cold\nservices: {job: {command: ['true']}}\n")
    environ = {"GOCKER_DATA_ROOT": f"{top}/roots/data", "GOCKER_RUN_ROOT": f"{top}/roots/live"}

    def run(program: str) -> list[list[str]]:
        command = [sys.executable, "-I", "-c", program, str(ROOT)]
        result = subprocess.run(command, capture_output=True, cwd=top, env=environ)
        assert result.returncode == 0, result.stderr.decode()
        found: list[list[str]] = json.loads(result.stdout)
        return found

    first = run(PROGRAM.replace("KEEP\n", "\n"))
    run(KEEPING)
    second = run(PROGRAM.replace("KEEP\n", "\n"))
    return [set(first[0]), set(first[1]), set(second[1])]


def ours(modules: set[str]) -> set[str]:
    return {name for name in modules if name.split(".")[0] == "gocker"}


def test_the_launcher_is_spawned_before_anything_else(start: list[set[str]]) -> None:
    # `signals` is three calls of a built-in module: no signal may come between spawn and its pid.
    assert ours(start[0]) <= {
        "gocker", "gocker.cli", "gocker.cli.isolation", "gocker.cli.main", "gocker.cli.timings",
        "gocker.errors",
        "gocker.scheduler", "gocker.scheduler.signals", "gocker.scheduler.spawn",
    }  # fmt: skip
    assert start[0] & {"argparse", "collections", "enum", "json", "re", "select", "signal"} == set()


def test_a_first_start_imports_nothing_for_later(start: list[set[str]]) -> None:
    assert (NEVER - WITHOUT_CACHE) & start[1] == set()


def test_a_second_start_imports_nothing_for_later(start: list[set[str]]) -> None:
    assert NEVER & start[2] == set()


def test_a_second_start_neither_reads_yaml_nor_plans(start: list[set[str]]) -> None:
    spec = {name for name in start[2] if name.startswith(("gocker.spec.", "ruamel", "_ruamel"))}
    plan = {name for name in start[2] if name.startswith("gocker.plan.")}
    assert spec == {"gocker.spec.files"}
    assert plan == {"gocker.plan.codec", "gocker.plan.model"}


def test_the_number_of_modules_stays(start: list[set[str]]) -> None:
    """Each costs 0.2 ms. Raise a number only for what a start really needs."""
    _, first, second = start
    # With the control socket, what users may ask for, and whose namespace this is.
    assert len(ours(first)) <= 126
    assert len(ours(second)) <= 74
    assert len(first - ours(first)) <= 96
    assert len(second - ours(second)) <= 80
