"""R3: every failpoint with every fault. ``python -m tests.long.failpoints [NAME[=FAULT] ...]``

After each: no process is left, the next ``up`` and ``down`` succeed, nothing else is left, and
the user was told the step. About 20 minutes; prints one line for each combination that fails.
"""

from __future__ import annotations

import sys
import time

from gocker.failpoints import ERRNOS, STEPS
from tests.long.support import busybox_rootfs
from tests.support.command import Gocker
from tests.support.failpoints import meet, problems

FAULTS = ("kill", "raise", *ERRNOS, "hang=1:2")


def combination(gocker: Gocker, name: str, fault: str, order: int) -> list[str]:
    """Meet one failpoint; return what is wrong afterwards."""
    found = []
    try:
        result = meet(gocker, name, fault, vfork=order % 3 != 0)
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
    return found


def main(patterns: list[str]) -> int:
    """Run all combinations whose name contains one of the patterns."""
    chosen = [
        (name, fault) for name in STEPS for fault in FAULTS
        if not patterns or any(pattern in f"{name}={fault}" for pattern in patterns)
    ]  # fmt: skip
    bad = count = 0
    began = time.monotonic()
    with busybox_rootfs() as rootfs:
        gocker = Gocker(image=f"rootfs:{rootfs}")
        try:
            for order, (name, fault) in enumerate(chosen):
                found = combination(gocker, name, fault, order)
                count += 1
                if found:
                    bad += 1
                    print(f"{name}={fault}", *found, sep="\n    ", flush=True)
        finally:
            gocker.close()
    print(f"failpoints {len({name for name, _ in chosen})}, combinations {count}, wrong {bad}, "
          f"{time.monotonic() - began:.0f} s")  # fmt: skip
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
