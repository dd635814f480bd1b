"""``up`` in a CI's job, end to end; what the CI reads of it is in unit/report/test_ci.py."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.support.command import Gocker, Result

pytestmark = pytest.mark.root

SPEC = """
name: test
services:
  well:
    command: [sh, -c, 'printf "::error::one\\\\n##[error]two\\\\n"; echo fine']
    IMAGE
  bad:
    command: [sh, -c, 'seq 700; printf "a\\\\r::add-mask::b\\\\n"; exit 3']
    IMAGE
  soft:
    command: [sh, -c, 'echo soft; exit 4']
    x-gocker: {allow_failure: true}
    IMAGE
"""


def run(gocker: Gocker, environ: dict[str, str], *options: str) -> Result:
    spec = gocker.root / "ci.yaml"
    spec.write_text(SPEC.replace("IMAGE", f"image: {gocker.image}"))
    return gocker.command("up", str(spec), "--color", "never", *options, environ=environ)


@pytest.fixture
def github(gocker: Gocker) -> dict[str, str]:
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(gocker.root),
        "GITHUB_STEP_SUMMARY": str(gocker.root / "summary.md"),
    }


def test_github_sees_groups_then_failures(gocker: Gocker, github: dict[str, str]) -> None:
    result = run(gocker, github)
    assert result.code == 1, result
    assert result.err == ""
    lines = result.out.splitlines()
    groups = [number for number, line in enumerate(lines) if line.startswith("::group::")]
    (failure,) = [n for n, line in enumerate(lines) if line.startswith("::error ")]
    assert len(groups) == 2
    assert max(groups) < failure
    assert lines[failure].startswith("::error file=ci.yaml,line=7,title=bad FAILED::exit: exit")
    (soft,) = [line for line in lines if line.startswith("::warning ")]
    assert "file=ci.yaml,line=10,title=soft failed" in soft
    # The failure's output is whole and last.
    assert [line for line in lines[failure:] if re.fullmatch(r"bad \| \d+", line)] == [
        f"bad | {number}" for number in range(1, 701)
    ]
    (token,) = {line[17:] for line in lines if line.startswith("::stop-commands::")}
    assert lines[-1] == f"::{token}::"


def test_nothing_of_a_container_is_a_command(gocker: Gocker, github: dict[str, str]) -> None:
    result = run(gocker, github)
    assert "\r" not in result.out
    assert "##[" not in result.out
    allowed = r"::(group|endgroup|error|warning|stop-commands|[0-9a-f]{32})( [^:]*)?::"
    commands = [line for line in result.out.splitlines() if line.lstrip().startswith("::")]
    assert [line for line in commands if not re.match(allowed, line)] == []
    assert not [line for line in commands if line.endswith("::one")]


def test_the_step_summary_has_a_row_per_service(gocker: Gocker, github: dict[str, str]) -> None:
    run(gocker, github)
    text = (gocker.root / "summary.md").read_text()
    assert {line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")} == {
        "| service", "| well", "| bad", "| soft",
    }  # fmt: skip


def test_gitlab_sees_sections(gocker: Gocker) -> None:
    result = run(gocker, {"GITLAB_CI": "true"})
    found = re.findall(r"section_(start|end):\d+:(\w+)(\[collapsed=true\])?\r\x1b\[0K", result.out)
    assert sorted(found) == sorted([
        ("start", "gocker_well_1", "[collapsed=true]"), ("end", "gocker_well_1", ""),
        ("start", "gocker_soft_1", "[collapsed=true]"), ("end", "gocker_soft_1", ""),
        ("start", "gocker_bad_1", ""), ("end", "gocker_bad_1", ""),
    ])  # fmt: skip
    assert f"{gocker.root}/ci.yaml:7: error: bad FAILED" in result.out


def test_none_is_as_at_home(gocker: Gocker, github: dict[str, str]) -> None:
    result = run(gocker, github, "--ci", "none")
    assert "::group::" not in result.out
    assert "\nSERVICE " in result.err


def test_a_secret_is_masked_before_anything_is_shown(
    gocker: Gocker, github: dict[str, str]
) -> None:
    (gocker.root / "secret").write_text("correct horse\n")
    spec = gocker.root / "secret.yaml"
    spec.write_text(
        f"name: test\nservices: {{job: {{image: '{gocker.image}', secrets: [it],\n"
        "  command: [cat, /run/secrets/it]}}\nsecrets: {it: {file: ./secret}}\n"
    )
    result = gocker.command("up", str(spec), "--color", "never", environ=github)
    assert result.code == 0, result
    assert result.out.splitlines()[0] == "::add-mask::correct horse"
    assert result.out.count("correct horse") == 1
    assert "job | ***" in result.out


def test_a_mistake_in_a_spec_is_shown_at_its_line(gocker: Gocker, github: dict[str, str]) -> None:
    (gocker.root / "wrong.yaml").write_text("services:\n  a:\n    comand: [x]\n")
    result = gocker.command("up", str(gocker.root / "wrong.yaml"), environ=github)
    assert result.code == 2
    assert result.err.startswith("::error file=wrong.yaml,line=3,title=gocker%3A spec::")


def test_artifacts_belong_to_who_called_sudo(gocker: Gocker) -> None:
    spec = gocker.root / "artifact.yaml"
    spec.write_text(
        f"name: test\nservices: {{job: {{image: '{gocker.image}', command: [touch, /tmp/it],\n"
        "  x-gocker: {artifacts: {paths: [/tmp/it]}}}}\n"
    )
    result = gocker.command(
        "up", str(spec), environ={"GITHUB_ACTIONS": "true", "SUDO_UID": "1234", "SUDO_GID": "2345"}
    )
    assert result.code == 0, result
    (saved,) = Path(gocker.root, ".gocker").rglob("it")
    assert os.stat(saved)[4:6] == (1234, 2345)


def test_logs_are_no_commands_either(gocker: Gocker, github: dict[str, str]) -> None:
    run(gocker, {})
    lines = gocker.command("logs", "-p", "test", "--no-log-prefix", "well", environ=github).out
    assert "fine\n" in lines
    assert "##[" not in lines
