"""Attacks of the catalogue in the numbers it asks for: ``python -m tests.long.catalogue [ID ...]``.

The same tests as in CI, which have a few turns there; needs root. A line for each id.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


# A run of thousands of jobs takes longer than a test waits for the end of one.
PATIENCE = {"GOCKER_TEST_PATIENCE_S": "3600"}


class Long(NamedTuple):
    """The variable that a test takes its number from, how many, of what, and where it is."""

    variable: str
    count: int
    of: str
    tests: str
    only: str


ATTACKS = {
    "A6": Long("GOCKER_A6_TURNS", 100, "executions watched for a secret",
               "tests/linux/test_exec_security.py", "a06"),
    "A12": Long("GOCKER_A12_STARTS", 2000, "starts that leave no keys",
                "tests/security/test_a_handover.py", "a12_many"),
    "B2": Long("GOCKER_ATTACK_STARTS", 2000, "starts beside a swap, five times (B2, B5, B7)",
               "tests/linux/test_attacks_rootfs.py", "b2 or b5 or b7"),
    "B4": Long("GOCKER_ATTACK_STARTS", 500, "starts with a terminal beside a swap, twice",
               "tests/linux/test_exec_security.py", "b04"),
    "C5": Long("GOCKER_C5_SCALE", 50, "times 200 MiB of zeros, and times 60,000 entries",
               "tests/linux/test_unpack.py", "bombs"),
    "D9": Long("GOCKER_FUZZ_FRAMES", 100_000, "frames to the control socket",
               "tests/linux/test_control.py", "frames_of_any_kind"),
    "G1": Long("GOCKER_G1_TURNS", 500, "copies beside a swap",
               "tests/linux/test_cp.py", "g1"),
    "G4": Long("GOCKER_G4_TURNS", 5000, "aborted attaches and executions, twice",
               "tests/linux/test_exec_security.py", "g04"),
}  # fmt: skip


def attack(name: str, count: int | None = None) -> bool:
    """Run one; print its line."""
    made = ATTACKS[name]
    size = made.count if count is None else count
    began = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", made.tests, "-k",
         made.only],
        cwd=ROOT, env={**os.environ, made.variable: str(size), **PATIENCE},
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    said = result.stdout.strip().rpartition("\n")[2]
    good = result.returncode == 0 and re.match(r"\d+ passed", said) is not None
    print(f"{name}: {size} {made.of}: {said}; {time.monotonic() - began:.0f} s", flush=True)
    if not good:
        print(result.stdout[-3000:])
    return good


def main(words: list[str]) -> int:
    """Run those named, as ``ID`` or ``ID=COUNT``, or all."""
    good = True
    for word in words or ATTACKS:
        name, _, count = word.partition("=")
        good &= attack(name, int(count) if count else None)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
