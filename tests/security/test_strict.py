"""Profile strict, as the kernel shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gocker.plan import userns
from tests.support.command import Gocker

pytestmark = pytest.mark.root


def test_strict_is_another_user_without_capabilities_in_a_namespace_of_its_own(
    gocker: Gocker,
) -> None:
    service = {"command": ["sh", "-c", "(touch /x || echo read-only) 2>/dev/null; sleep 1000"],
               "user": "1000:1000", "mem_limit": "64m", "cpus": 1, "init": True,
               "x-gocker": {"profile": "strict"}}  # fmt: skip
    running = gocker.start({"services": {"job": service}})
    pid = running.wait_for("container.started")["process.pid"]
    running.wait_for_output("read-only")
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    namespace = Path(f"/proc/{pid}/ns/user").readlink()
    uids = Path(f"/proc/{pid}/uid_map").read_text().split()
    running.send(15)
    result = running.finish()
    assert namespace != Path("/proc/self/ns/user").readlink()
    assert (uids[0], uids[2]) == ("0", str(userns.SIZE))
    assert int(uids[1]) >= userns.FIRST
    assert int(status["Uid"].split()[0]) >= userns.FIRST
    assert (status["CapBnd"], status["NoNewPrivs"], status["Seccomp"]) == ("0" * 16, "1", "2")
    assert result.events("security.relaxed") == []
