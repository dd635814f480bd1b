from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from gocker.state.holder import Holder, start_time
from gocker.values import replace


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "100"])
    yield process
    process.kill()
    process.wait()


def holder_of(process: subprocess.Popen[bytes]) -> Holder:
    started = start_time(process.pid)
    assert started is not None
    return replace(Holder.current(), pid=process.pid, start_time=started)


def test_the_process_itself_is_signalled(sleeper: subprocess.Popen[bytes]) -> None:
    assert holder_of(sleeper).signal(signal.SIGKILL)
    assert sleeper.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize(
    "change",
    [
        {"start_time": 1}, {"boot_id": "another"}, {"pid_namespace": 1},
        {"pid": -1}, {"pid": 0}, {"pid": 1 << 40}, {"pid": 1 << 80},
    ],
    ids=str,
)  # fmt: skip
def test_anyone_else_is_not_signalled(
    sleeper: subprocess.Popen[bytes], change: dict[str, Any]
) -> None:
    assert not replace(holder_of(sleeper), **change).signal(signal.SIGKILL)
    assert sleeper.poll() is None


def test_a_reaped_process_is_gone(sleeper: subprocess.Popen[bytes]) -> None:
    holder = holder_of(sleeper)
    sleeper.kill()
    sleeper.wait()
    assert not holder.signal(signal.SIGTERM)
    assert holder.wait(None)


def test_wait_gives_up_after_its_timeout(sleeper: subprocess.Popen[bytes]) -> None:
    assert not holder_of(sleeper).wait(0.01)


def test_wait_ends_with_the_process(sleeper: subprocess.Popen[bytes]) -> None:
    holder = holder_of(sleeper)
    sleeper.kill()
    assert holder.wait(10)


def test_a_command_with_brackets_and_spaces_does_not_shift_the_fields() -> None:
    program = (
        "import os; open('/proc/self/comm', 'w').write(') S 1 (');"
        "from gocker.state.holder import start_time; print(start_time(os.getpid()) or 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    own = start_time(os.getpid())
    assert own is not None
    assert int(result.stdout) >= own


def test_json_round_trip() -> None:
    holder = Holder.current()
    assert Holder.from_json(holder.as_json()) == holder


@pytest.mark.parametrize("value", [None, 1, [], {}, {"pid": "1"}])
def test_other_json_is_no_holder(value: object) -> None:
    assert Holder.from_json(value) is None
