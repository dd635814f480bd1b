"""R27: what hangs in a container or in a program of its own holds up no `down`."""

from __future__ import annotations

import pytest

from tests.support.command import Gocker, Spec
from tests.support.living import LOOP, Project, service, wait_gone

pytestmark = pytest.mark.root

HANG = ["sh", "-c", "trap '' TERM; while :; do sleep 1000; done"]
CASES: dict[str, Spec] = {
    "health check": {"healthcheck": {"test": ["CMD", *HANG], "interval": "10ms",
                                     "timeout": "1000s"}},
    "pre_stop": {"pre_stop": [{"command": HANG}]},
    "nobody reads its FIFO": {
        "command": ["sh", "-c", "trap '' TERM; mkfifo /tmp/f; echo > /tmp/f"],
    },
    "SIGTERM is ignored": {"command": HANG},
}  # fmt: skip


@pytest.mark.parametrize("what", CASES)
def test_r27_down_ends_what_hangs_after_its_grace(gocker: Gocker, what: str) -> None:
    project = Project(gocker)
    own = service(f"trap '' TERM; {LOOP}") | CASES[what]
    assert project.up({"services": {"web": own}}).code == 0
    pid = project.pids()["web"]
    assert project.do("down", "-t", "0.2").code == 0
    wait_gone(pid)
    gocker.check()


def test_r27_a_frozen_container_holds_up_no_down(gocker: Gocker) -> None:
    project = Project(gocker)
    assert project.up({"services": {"web": service(f"trap '' TERM; {LOOP}")}}).code == 0
    pid = project.pids()["web"]
    project.ok("pause")
    assert project.do("down", "-t", "0.2").code == 0
    wait_gone(pid)
    gocker.check()
