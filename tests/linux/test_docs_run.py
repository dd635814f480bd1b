"""The pages for users are run: each spec is written, each command executed, each word looked for.

A comment after a command says what comes of it: ``# exit code 1, prints "oom"``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import ROOT, Gocker

pytestmark = [pytest.mark.root, pytest.mark.slow]
PAGES = ("tutorial", "migrate", "cookbook", "troubleshooting", "ci")
BLOCK = re.compile(r"^(## [^\n]+)$|^```(\w+)[^\n]*\n(.+?)^```$", re.MULTILINE | re.DOTALL)


def steps(page: str) -> Iterator[tuple[str, str, str]]:
    """Yield heading, kind and text of each block, in order."""
    heading = ""
    for found in BLOCK.finditer((ROOT / "docs" / f"{page}.md").read_text()):
        if found[1]:
            heading = found[1][3:]
        else:
            first = found[0].split("\n")[0]
            title = re.search('title="(.+)"', first)
            yield heading, title[1] if title else found[2], found[3]


@pytest.fixture
def environ(gocker: Gocker) -> dict[str, str]:
    directory = gocker.root / "bin"
    directory.mkdir()
    command = directory / "gocker"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gocker "$@"\n')
    command.chmod(0o755)
    return gocker.environ | {"PATH": f"{directory}:{os.environ['PATH']}", "HOME": str(gocker.root)}


@pytest.mark.parametrize("page", PAGES)
def test_the_page_is_so(gocker: Gocker, environ: dict[str, str], page: str) -> None:
    work = gocker.root / "work"
    work.mkdir()
    done = 0
    for heading, kind, text in steps(page):
        if kind.endswith(".yaml"):
            (work / kind).write_text(text)
        elif text.startswith("# ci.yaml"):
            (work / "ci.yaml").write_text(text)
            line(gocker, environ, work, "gocker up ci.yaml --report junit=junit.xml")
            done += 1
        elif kind == "sh":
            for command in filter(None, text.splitlines()):
                output = line(gocker, environ, work, command)
                done += 1
                if page == "troubleshooting":
                    assert heading in output
    assert done


def line(gocker: Gocker, environ: dict[str, str], work: Path, command: str) -> str:
    """Run a command line; check what its comment says; return all that it wrote."""
    result = subprocess.run(
        ["sh", "-c", command], cwd=work, env=environ, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
        preexec_fn=gocker._enter,  # writes and signal calls only
    )  # fmt: skip
    gocker.note_runs()
    comment = command.partition("#")[2]
    code = re.search(r"exit code (\d+)", comment)
    assert result.returncode == (int(code[1]) if code else 0), (command, result.stdout)
    for word in re.findall('"(.+?)"', comment):
        assert word in result.stdout, (command, result.stdout)
    return result.stdout
