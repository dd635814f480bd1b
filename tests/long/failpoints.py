"""R3: every failpoint with every fault. ``python -m tests.long.failpoints [NAME[=FAULT] ...]``

After each: no process is left, the next ``up`` and ``down`` succeed, nothing else is left, and
the user was told the step. As many at once as there are CPUs, each with roots of its own: about
20 minutes. Prints one line for each combination that fails.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import TypeAlias

from gocker.failpoints import ERRNOS, STEPS
from tests.long.support import busybox_rootfs
from tests.support.command import Gocker
from tests.support.failpoints import meet, problems

Answers: TypeAlias = "multiprocessing.Queue[tuple[str, str, int | None, list[str]]]"
FAULTS = ("kill", "raise", *ERRNOS, "hang=1:2")


def combination(gocker: Gocker, name: str, fault: str, order: int) -> tuple[int | None, list[str]]:
    """Meet one failpoint; return the exit code and what is wrong afterwards."""
    found = []
    code = None
    try:
        result = meet(gocker, name, fault, vfork=order % 3 != 0)
        code = result.code
        found = problems(result, name, fault)
        if found:
            found.append(f"code {result.code}: {result.err[-600:]}")
    except AssertionError as error:
        found.append(f"up: {error}"[:600])
    left = gocker.left_processes()
    if left:
        found.append(f"processes left: {left}")
    steps = ("up", "down") if order % 2 else ("down", "up", "down")
    for step in steps:
        after = gocker.sh("true") if step == "up" else gocker.down("-v")
        if after.code != 0:
            found.append(f"the next {step}: {after}"[:600])
    # Mounts of the host: others may be at work on this machine.
    things = [
        thing for thing in gocker.left_things()
        if " - " not in thing or gocker.root.name in thing
    ]  # fmt: skip
    if things:
        found.append(f"left: {things}")
    return code, found


def part(chosen: list[tuple[str, str]], rootfs: Path, answers: Answers) -> None:
    """Run combinations, one after the other, with roots of their own; put a line for each."""
    gocker = Gocker(image=f"rootfs:{rootfs}")
    try:
        for order, (name, fault) in enumerate(chosen):
            answers.put((name, fault, *combination(gocker, name, fault, order)))
    finally:
        gocker.close()


def main(words: list[str]) -> int:
    """Run all combinations whose name contains one of the words, some at once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("patterns", nargs="*", metavar="NAME[=FAULT]")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(words)
    chosen = [
        (name, fault) for name in STEPS for fault in FAULTS
        if not options.patterns or any(word in f"{name}={fault}" for word in options.patterns)
    ]  # fmt: skip
    bad, step = 0, options.at_once
    unnoticed = dict.fromkeys(name for name, _ in chosen)
    began = time.monotonic()
    with busybox_rootfs() as rootfs:
        answers: Answers = multiprocessing.Queue()
        parts = [
            multiprocessing.Process(target=part, args=(chosen[n::step], rootfs, answers))
            for n in range(step)
        ]  # fmt: skip
        for process in parts:
            process.start()
        for _ in chosen:
            name, fault, code, found = answers.get(timeout=600)
            if code != 0:
                unnoticed.pop(name, None)
            if found:
                bad += 1
                print(f"{name}={fault}", *found, sep="\n    ", flush=True)
        for process in parts:
            process.join()
    print("no fault made the run fail (it goes on, or does not come there):", *unnoticed)
    names = len({name for name, _ in chosen})
    print(f"failpoints {names}, combinations {len(chosen)}, wrong {bad}, "
          f"{time.monotonic() - began:.0f} s")  # fmt: skip
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
