"""Completion, asked for by the real shells."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gocker.cli.completion import SCRIPTS, candidates
from gocker.cli.main import COMMANDS, run

ROOT = Path(__file__).parents[3]
SPEC = "name: t\nservices: {web: {command: [x]}, worker: {command: [x]}, db: {command: [x]}}\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "compose.yaml").write_text(SPEC)
    (tmp_path / "other.yaml").write_text(SPEC.replace("db", "cache"))
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "gocker"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gocker "$@"\n')
    command.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "oci"])
def test_options_of_every_command_are_known(here: Path, name: str) -> None:
    assert "--help" in candidates([name, "--"]) or name in ("image", "network", "net")
    candidates([name, ""])


def test_words_are_what_the_parsers_and_the_spec_say(here: Path) -> None:
    assert candidates([""]) == [*COMMANDS]
    assert candidates(["up", "--ci", ""]) == ["auto", "github", "gitlab", "none"]
    assert candidates(["exec", ""]) == ["web", "worker", "db"]
    assert candidates(["logs", "-f", "other.yaml", ""]) == ["web", "worker", "cache"]
    assert candidates(["up", "other.yaml", ""]) == ["web", "worker", "cache"]
    assert candidates(["up", "--attach", ""]) == ["web", "worker", "db"]
    assert candidates(["completion", ""]) == ["bash", "zsh", "fish"]


def test_a_broken_spec_completes_to_nothing(here: Path) -> None:
    (here / "compose.yaml").write_text("services: [")
    assert candidates(["exec", ""]) == []


def test_the_words_are_printed_one_a_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", "--words", "up", "w"]) == 0
    assert capsys.readouterr().out == "web\nworker\n"
    assert run(["completion", "--words", "up", "--report", "-h"]) == 0


def script(shell: str, code: str, here: Path) -> list[str]:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"needs {shell}")
    (here / "script").write_text(SCRIPTS[shell])
    result = subprocess.run([path, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stderr == ""
    return result.stdout.split()


@pytest.mark.parametrize(
    ("words", "found"),
    [(["compl"], ["completion"]), (["exec", "w"], ["web", "worker"]),
     (["up", "--ci", "git"], ["github", "gitlab"]), (["up", "--no-summ"], ["--no-summary"]),
     (["up", "other.y"], [])],
)  # fmt: skip
def test_bash_completes(here: Path, words: list[str], found: list[str]) -> None:
    line = " ".join(f"'{word}'" for word in ["gocker", *words])
    code = (
        f"source ./script; COMP_WORDS=({line}); COMP_CWORD={len(words)}; "
        "compopt() { :; }; _gocker; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    assert script("bash", code, here) == found


def test_fish_completes(here: Path) -> None:
    code = "source ./script; complete -C 'gocker exec w'; complete -C 'gocker completion f'"
    assert script("fish", code, here) == ["web", "worker", "fish"]


def test_zsh_completes(here: Path) -> None:
    code = (
        "compdef() { :; }; source ./script; compadd() { shift; print -l -- $@; }; "
        "words=(gocker exec w); CURRENT=3; _gocker"
    )
    assert script("zsh", code, here) == ["web", "worker"]
