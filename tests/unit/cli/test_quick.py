"""Plain command lines are read without argparse, and mean the same."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from gocker.cli import exec as exec_command
from gocker.cli import ps

ROOT = Path(__file__).parents[3]
EXEC = [
    "web true", "-p x web sh -c 'echo -p y'", "-T web ls -l", "-i -t web sh", "-d web sleep 1",
    "-e A=b -e C --env D= web env", "-u 1000:1000 -w /tmp web id", "--project-name x web -- ls",
    "--user root web", "web",
]  # fmt: skip
PS = [
    "", "-p x", "-a", "--all -q", "--services web", "--status running --status exited",
    "a.yaml web", "--all-projects",
]  # fmt: skip
# argparse has the last word on what is wrong, or said in another way.
OTHERS = [
    "", "--help", "-h web", "-it web sh", "-p", "-p x", "--user=root web", "--index 2 web true",
    "--nothing web", "-e -x web", "-- web true",
]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "line"),
    [(exec_command, line) for line in EXEC] + [(ps, line) for line in PS],
)
def test_a_plain_line_means_what_argparse_reads(command: ModuleType, line: str) -> None:
    words = shlex.split(line)
    found = command.quickly(words)
    assert found is not None
    assert vars(found) == vars(command.parser().parse_args(words))


@pytest.mark.parametrize("line", OTHERS)
def test_what_is_not_plain_is_left_to_argparse(line: str) -> None:
    assert exec_command.quickly(shlex.split(line)) is None


@pytest.mark.parametrize("words", [["-p", "x", "exec", "web", "true"], ["-p", "x", "ps"]])
def test_a_short_command_imports_little(words: list[str], tmp_path: Path) -> None:
    """Each of these is a tenth of such a command or more."""
    (tmp_path / "roots").mkdir(mode=0o700)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from gocker.cli import main\nmain.run(sys.argv[2:])\n"
        "print(*sys.modules, sep='\\n')"
    )
    environ = {"GOCKER_DATA_ROOT": f"{tmp_path}/roots/d", "GOCKER_RUN_ROOT": f"{tmp_path}/roots/l"}
    command = [sys.executable, "-I", "-S", "-c", program, str(ROOT), *words]
    result = subprocess.run(command, env=environ, capture_output=True, text=True, cwd=tmp_path)
    loaded = set(result.stdout.splitlines())
    assert "gocker.cli.project" in loaded, result.stderr
    costly = {
        "argparse", "collections", "contextlib", "ctypes", "enum", "functools", "gettext", "json",
        "re", "signal", "typing", "pydantic", "gocker.log", "gocker.cli.options",
    }  # fmt: skip
    assert loaded & costly == set()
