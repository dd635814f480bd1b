"""The long versions of tests/reliability: ``python -m tests.long ID [SIZE]``, a figure each."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from tests.long.support import busybox_rootfs
from tests.reliability import (
    test_r9_descriptors,
    test_r12_oom,
    test_r16_exit_codes,
    test_r17_stop,
    test_r22_soak,
    test_r25_corruption,
)
from tests.support import machine
from tests.support.command import Gocker

Figure = tuple[str, bool]


def r9(gocker: Gocker, jobs: int) -> Figure:
    test_r9_descriptors.few_descriptors(gocker, jobs, 64)
    return f"{jobs} jobs with 64 descriptors: 0 wrong, 0 failed", True


def r10(gocker: Gocker, jobs: int) -> Figure:
    test_r9_descriptors.few_processes(gocker, jobs, 20)
    return f"{jobs} jobs with 20 processes: 0 wrong, 0 failed", True


def r12(gocker: Gocker, others: int) -> Figure:
    named, false = test_r12_oom.oom_kills(gocker, victims=100, others=others)
    return f"OOM kills told {named} of 100, falsely {false} of {others}", (named, false) == (100, 0)


def r13(gocker: Gocker, others: int) -> Figure:
    started = sorted(test_r17_stop.fork_bomb(gocker, others))
    return f"{others} jobs beside a fork bomb start in {statistics.median(started):.3f} s", True


def r14(gocker: Gocker, orphans: int) -> Figure:
    left = test_r17_stop.zombies(gocker, orphans)
    return f"zombies of {orphans} orphans: {left}", left == 0


def r16(gocker: Gocker, jobs: int) -> Figure:
    wrong: list[str] = []
    for first in range(0, jobs, 500):
        wrong += test_r16_exit_codes.exit_codes(gocker, min(500, jobs - first), first)
        gocker.down()
        print(f"  {min(first + 500, jobs)} jobs: wrong {len(wrong)}", flush=True)
    return f"{jobs} jobs, wrong {len(wrong)} {wrong[:5]}", not wrong


def r17(gocker: Gocker, processes: int) -> Figure:
    took_s = test_r17_stop.many_processes(gocker, processes)
    return f"a container of {processes} processes is gone {took_s:.2f} s after SIGTERM", True


def r22(gocker: Gocker, cycles: int) -> Figure:
    found = test_r22_soak.soak(gocker, cycles, samples=20)
    print(*found, sep="\n")
    grown = test_r22_soak.growth(found)
    text = ", ".join(f"{name} {part:+.1%}" for name, part in grown.items())
    return f"{cycles} cycles; last quarter against the third: {text}", True


def r25(gocker: Gocker, count: int) -> Figure:
    with test_r25_corruption.stranger():
        test_r25_corruption.corruptions(gocker, count, test_r25_corruption.SEED)
    return f"{count} corruptions: no traceback, no wrong kill, nothing else touched", True


SIZES: dict[str, tuple[Callable[[Gocker, int], Figure], int]] = {
    "r9": (r9, 1000), "r10": (r10, 1000), "r12": (r12, 1000), "r13": (r13, 20), "r14": (r14, 1000),
    "r16": (r16, 10_000), "r17": (r17, 10_000), "r22": (r22, 20_000), "r25": (r25, 500),
}  # fmt: skip


def main(words: list[str]) -> int:
    """Run one, or with "all" each; print its figure."""
    machine.PATIENCE_S = max(machine.PATIENCE_S, 1800.0)  # thousands of jobs are one run
    names = list(SIZES) if words[0] == "all" else [words[0]]
    good = True
    for name in names:
        check, size = SIZES[name]
        if len(words) > 1:
            size = int(words[1])
        began = time.monotonic()
        with busybox_rootfs() as rootfs:
            gocker = Gocker(image=f"rootfs:{rootfs}")
            try:
                text, ok = check(gocker, size)
            except AssertionError as error:
                text, ok = f"failed: {error}"[:2000], False
            finally:
                gocker.close()
        good &= ok
        print(f"{name.upper()}: {text}; {time.monotonic() - began:.0f} s", flush=True)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
