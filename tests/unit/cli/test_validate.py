"""Everything that is wrong with a spec, for people, GitHub and programs; and its graph."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gocker.cli import main

ROOT = Path(__file__).parents[3]
WRONG = """name: p
services:
  a: {comand: x, cpus: many}
  b: {depends_on: [c]}
"""
CYCLE = "name: p\nservices:\n  a: {depends_on: [b]}\n  b: {depends_on: [a]}\n"
FINE = """name: p
services:
  db: {deploy: {labels: {a: b}}, image: "no-such:image"}
  test:
    depends_on: [db]
    x-gocker: {matrix: {V: [1, 2]}}
"""


class Command:
    """Runs a command on a spec."""

    def __init__(self, directory: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._capture = capture

    def __call__(self, name: str, text: str, *options: str) -> tuple[int, str]:
        (self.directory / "spec.yaml").write_text(text)
        code = main.run([name, "spec.yaml", *options])
        return code, self._capture.readouterr().out


@pytest.fixture
def command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOCKER_DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("GOCKER_RUN_ROOT", str(tmp_path / "live"))
    return Command(tmp_path, capsys)


def test_problems_have_a_line_each(command: Command) -> None:
    code, out = command("validate", WRONG)
    assert code == 2
    lines = [line.removeprefix(f"{command.directory}/") for line in out.splitlines()]
    assert [line.split(" ")[0] for line in lines] == [
        "spec.yaml:3:7:", "spec.yaml:3:24:", "spec.yaml:4:20:",
    ]  # fmt: skip


def test_a_fine_spec_says_how_much_is_in_it(command: Command) -> None:
    code, out = command("validate", FINE)
    assert code == 0
    assert out.splitlines()[-1] == "valid: 3 instances"


def test_nothing_is_made(command: Command) -> None:
    command("validate", FINE)
    command("graph", FINE)
    assert [path.name for path in command.directory.iterdir()] == ["spec.yaml"]


def test_strict_refuses_what_has_no_effect(command: Command) -> None:
    code, out = command("validate", FINE, "--strict")
    assert code == 2
    assert "services.db.deploy.labels: has no effect" in out


def test_a_cycle_is_told(command: Command) -> None:
    code, out = command("validate", CYCLE)
    assert code == 2
    assert "cycle" in out


def test_a_mistake_of_one_combination_is_told(command: Command) -> None:
    spec = 'name: p\nservices:\n  a: {pids_limit: "${V:-1}", x-gocker: {matrix: {V: [x]}}}\n'
    code, out = command("validate", spec)
    assert code == 2
    assert "(with V=x)" in out


def test_json_has_every_field(command: Command) -> None:
    code, out = command("validate", WRONG, "--format", "json")
    document: dict[str, Any] = json.loads(out)
    assert (code, document["valid"]) == (2, False)
    assert document["problems"][0]["path"] == "services.a.comand"
    assert json.loads(command("validate", FINE, "--format", "json")[1])["instances"] == 3


def test_github_shows_problems_at_their_lines(command: Command) -> None:
    _, out = command("validate", WRONG, "--format", "github")
    first = out.splitlines()[0]
    assert first.startswith("::error file=spec.yaml,line=3,col=7::services.a.comand: unknown key")


def test_github_gets_no_second_command(command: Command) -> None:
    _, out = command("validate", 'services: {"a%\\n::error::b": {}}', "--format", "github")
    assert all(line.startswith("::error file=spec.yaml,") for line in out.splitlines())


def test_a_graph_counts_instances(command: Command) -> None:
    assert command("graph", FINE)[1] == "db [support]\ntest x2 [job] <- db (started)\n"
    assert command("graph", FINE, "--format", "mermaid")[1].startswith("flowchart LR\n")
    names = [
        unit["instance"]
        for unit in json.loads(command("graph", FINE, "--format", "json")[1])["units"]
    ]
    assert names == ["db", "test-1", "test-2"]


@pytest.mark.parametrize(
    ("options", "file"), [((), "schema.json"), (("--events",), "events.schema.json")]
)
def test_the_schema_is_the_published_one(
    options: tuple[str, ...], file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["schema", *options]) == 0
    assert capsys.readouterr().out == (ROOT / "specs" / file).read_text()


def test_a_graph_does_not_import_what_runs_containers() -> None:
    program = "import sys; from gocker.cli import main; main.run(['graph', sys.argv[1]])"
    program += "\nprint('gocker.scheduler.loop' in sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", program, str(ROOT / "specs/demo.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr == "False\n"
