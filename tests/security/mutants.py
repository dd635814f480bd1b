"""Do the tests bite? ``python -m tests.security.mutants`` as root removes one defence at a time.

Each entry of mutants.toml changes one place of a copy of the code, and its test must then fail.
First all named tests run on the unchanged copy, where they must pass. ``--sample N`` takes every
so many-th, ``--only TEXT`` those whose name has it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("mutants.toml")
COPIED = ("gocker", "tests", "specs", "docs", "pyproject.toml", "README.md")


class Mutant(NamedTuple):
    """One defence to remove: `old` occurs once in `file`. `test` is pytest's node id, or more."""

    name: str
    file: str
    old: str
    new: str
    test: str


def mutants() -> list[Mutant]:
    with LIST.open("rb") as file:
        return [Mutant(**entry) for entry in tomllib.load(file)["mutant"]]


def copy(target: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", ".hypothesis")
            shutil.copytree(source, target / name, ignore=ignore)
        else:
            shutil.copy(source, target / name)


def run(top: Path, tests: list[str]) -> tuple[bool, str]:
    """Return whether the tests pass in a copy, and the end of what they said."""
    # Compiled files are known by a time in seconds and a size, which a mutant may not change.
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    result = subprocess.run(command, cwd=top, env=environ, capture_output=True, text=True,
                            stdin=subprocess.DEVNULL)  # fmt: skip
    if result.returncode not in (0, 1):
        raise SystemExit(
            f"pytest cannot run {tests}: {result.stdout[-1500:]}{result.stderr[-500:]}"
        )
    return result.returncode == 0, result.stdout[-300:]


def tried(top: Path, mutant: Mutant) -> bool:
    """Return whether the mutant is killed."""
    path = top / mutant.file
    text = path.read_text()
    if text.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.name}: {text.count(mutant.old)} times in {mutant.file}")
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        passed, _ = run(top, mutant.test.split(" "))
    finally:
        path.write_text(text)
    return not passed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=0, metavar="N")
    parser.add_argument("--only", default="")
    parser.add_argument("--from", dest="start", default="", help="begin with this one")
    parser.add_argument("--no-baseline", action="store_true")
    arguments = parser.parse_args()
    chosen = [mutant for mutant in mutants() if arguments.only in mutant.name]
    if arguments.start:
        first = next(
            n for n, mutant in enumerate(chosen) if mutant.name.startswith(arguments.start)
        )
        chosen = chosen[first:]
    if arguments.sample:
        chosen = chosen[:: max(1, len(chosen) // arguments.sample)][: arguments.sample]
    with tempfile.TemporaryDirectory(prefix="gocker-mutants-", dir="/var/tmp") as name:
        top = Path(name)
        copy(top)
        if not arguments.no_baseline:
            for tests in sorted({mutant.test for mutant in chosen}):
                passed, said = run(top, tests.split(" "))
                if not passed:
                    print(f"fails without a mutant: {tests}\n{said}")
                    return 2
        alive = []
        for mutant in chosen:
            killed = tried(top, mutant)
            print(f"{'killed' if killed else 'ALIVE ':<7} {mutant.name}", flush=True)
            if not killed:
                alive.append(mutant)
    print(f"{len(chosen) - len(alive)} passed, {len(alive)} failed")
    return int(bool(alive))


if __name__ == "__main__":
    sys.exit(main())
