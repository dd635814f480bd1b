"""R12: an OOM kill is told when it happened, and only then.

100 kills and 1,000 other deaths: ``python -m tests.long r12``.
"""

from __future__ import annotations

import pytest

from tests.support.command import Gocker, Spec

pytestmark = pytest.mark.root
EATER = "x=x; while :; do x=$x$x; done"
# A victim that is PID 1, or only a child of one that ends well or with a code of its own.
VICTIMS = (EATER, f"sh -c '{EATER}'; exit 0", f"sh -c '{EATER}'; exit 3")
# Deaths that look alike.
OTHERS = ("kill -9 $$; sleep 9", "sh -c 'kill -9 $$'; exit 0", "sh -c 'kill -9 $$'; exit 137",
          "exit 137", "exit 9")  # fmt: skip


def oom_kills(gocker: Gocker, victims: int, others: int) -> tuple[int, int]:
    """Return how many of the victims were told, and how many others falsely."""
    services: dict[str, dict[str, object]] = {
        f"v{number}": {"command": ["sh", "-c", VICTIMS[number % len(VICTIMS)]], "mem_limit": "8m",
                       "memswap_limit": "8m"}
        for number in range(victims)
    }  # fmt: skip
    services |= {
        f"o{number}": {"command": ["sh", "-c", OTHERS[number % len(OTHERS)]], "mem_limit": "8m",
                       "init": number % 2 == 0}
        for number in range(others)
    }  # fmt: skip
    spec: Spec = {"services": services}
    result = gocker.up(spec, "--parallel", "8")
    told = {record["instance"] for record in result.events("container.oom")}
    counted = {
        record["instance"] for record in result.events("container.exited")
        if record["memory.oom_kills"]
    }  # fmt: skip
    verdicts = {r["instance"] for r in result.events("job.finished") if r["verdict"] == "oom"}
    named = {name for name in told & counted if name.startswith("v")}
    # One that ends well in spite of it is not failed by it, but told.
    assert {name for name in named if int(name[1:]) % 3 != 1} <= verdicts
    return len(named), len({name for name in told | counted | verdicts if name.startswith("o")})


def test_oom_kills_and_nothing_else_are_told(gocker: Gocker) -> None:
    assert oom_kills(gocker, victims=9, others=20) == (9, 0)
