from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gocker import oci
from gocker.linux import capability
from gocker.plan.posture import capabilities

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
CHILD = """
import json, os, sys
from gocker.linux import capability
from gocker.linux.calls import Calls
sets, uid = json.loads(sys.argv[1]), int(sys.argv[2])
calls = Calls()
capability.add_drop_bounding(calls, sets)
calls.add("setresgid", uid, uid, uid, phase="user")
calls.add("setresuid", uid, uid, uid, phase="user")
capability.add_apply(calls, sets)
assert calls.run() is None
print(open("/proc/self/status").read(), flush=True)
os.execv("/bin/cat", ["cat", "/proc/self/status"])
"""


def masks(sets: Any, uid: int) -> list[dict[str, int]]:
    """Return the Cap lines of status: as `add_apply` left them, and after an execve."""
    result = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(sets), str(uid)],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines() if line.startswith("Cap")]
    found = [(name[3:-1], int(value, 16)) for name, value in lines]
    return [dict(found[:5]), dict(found[5:])]


NINE = sum(1 << number for number in (0, 1, 3, 4, 5, 6, 7, 8, 10))


@pytest.mark.parametrize("moment", [0, 1], ids=["applied", "executed"])
def test_root_holds_exactly_the_default(moment: int) -> None:
    sets = capabilities((), (), uid_is_root=True)
    found = masks(sets, 0)[moment]
    assert found == {"Inh": 0, "Prm": NINE, "Eff": NINE, "Bnd": NINE, "Amb": 0}


@pytest.mark.parametrize("moment", [0, 1], ids=["applied", "executed"])
def test_another_user_holds_nothing(moment: int) -> None:
    sets = capabilities((), (), uid_is_root=False)
    found = masks(sets, 1000)[moment]
    assert found == {"Inh": 0, "Prm": 0, "Eff": 0, "Bnd": NINE, "Amb": 0}


@pytest.mark.parametrize("moment", [0, 1], ids=["applied", "executed"])
def test_ambient_capabilities_survive_execve_of_another_user(moment: int) -> None:
    sets = capabilities(("SYS_NICE",), ("ALL",), uid_is_root=False)
    nice = 1 << capability.NUMBERS["CAP_SYS_NICE"]
    found = masks(sets, 1000)[moment]
    assert found == dict.fromkeys(("Inh", "Prm", "Eff", "Bnd", "Amb"), nice)


def test_what_the_permitted_set_lacks_is_refused_by_the_kernel() -> None:
    code = (
        "from gocker.linux import capability\nfrom gocker.linux.calls import Calls\n"
        "calls = Calls(); capability.add_apply(calls, {}); assert calls.run() is None\n"
        "calls = Calls(); capability.add_apply(calls, {'permitted': ['CAP_KILL']})\n"
        "failure = calls.run(); print(failure, failure.context['phase'])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout == "capset: Operation not permitted capabilities\n", result.stderr


def test_names_that_nothing_is_done_for_are_told() -> None:
    sets: oci.Capabilities = {"bounding": ["CAP_KILL", "CAP_NOPE"], "ambient": ["CAP_CHOWN"]}
    assert capability.mask(sets["bounding"]) == 1 << capability.NUMBERS["CAP_KILL"]
    assert capability.unknown(sets) == ["CAP_NOPE"]
    assert capability.unknown(sets, held=1) == ["CAP_KILL", "CAP_NOPE"]
