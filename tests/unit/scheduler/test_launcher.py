from __future__ import annotations

import os
import select
import signal

import pytest

from gocker.errors import HostError
from gocker.scheduler.launcher import Launcher
from gocker.scheduler.spawn import spawn


def test_a_launcher_that_died_at_its_start_is_an_error_of_the_host() -> None:
    launcher = Launcher(*spawn())
    try:
        pidfd = os.pidfd_open(launcher.pid)
        os.kill(launcher.pid, signal.SIGKILL)
        select.select([pidfd], [], [])
        os.close(pidfd)
        with pytest.raises(HostError, match="the launcher process is gone"):
            launcher.call({"op": "init"})
    finally:
        launcher.close()
