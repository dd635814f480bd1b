"""What is nearly right is told what was meant; the manual page is the parsers'."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gocker.cli.main import COMMANDS, run
from gocker.cli.manpage import page

ROOT = Path(__file__).parents[3]
SPEC = "name: t\nservices: {web: {command: [x]}, worker: {command: [x]}}\n"


@pytest.mark.parametrize(
    ("argv", "meant"),
    [(["upp"], "up"), (["validate", "--stric"], "--strict"), (["graph", "wbe"], "web"),
     (["config", "--hash", "workr"], "worker")],
)  # fmt: skip
def test_what_was_meant(
    argv: list[str], meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compose.yaml").write_text(SPEC)
    assert run(argv) == 2
    assert f"did you mean {meant!r}?" in capsys.readouterr().err


def test_an_unknown_key_of_a_spec_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compose.yaml").write_text(SPEC.replace("command", "comand", 1))
    assert run(["validate"]) == 2
    assert "did you mean 'command'?" in capsys.readouterr().out


def test_the_manual_page_needs_nothing_but_the_standard_library() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from gocker.cli import manpage"
    command = [sys.executable, "-I", "-S", "-c", f"{code}; sys.stdout.write(manpage.page())"]
    assert subprocess.check_output(command, text=True) == page()
    assert all(f'"gocker {name}"' in page().replace("\\-", "-") for name in COMMANDS)


@pytest.mark.parametrize(
    "command", [["groff", "-man", "-ww", "-Tutf8"], ["mandoc", "-T", "lint", "-W", "error"]]
)
def test_roff_has_nothing_to_complain_about(command: list[str], tmp_path: Path) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    path = tmp_path / "gocker.1"
    path.write_text(page())
    result = subprocess.run([*command, path], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    assert result.stderr == ""
