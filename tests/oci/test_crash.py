"""SIGKILL at any moment: ``delete --force`` removes all that there is, in one call.

strace(1) kills the command at its Nth call of those that change something.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.support import machine
from tests.support.oci import COMMAND, Runtime, wait_until

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace"),
]

CALLS = "mkdir,mkdirat,mknodat,rename,renameat,write,clone3,fork,clone,socketpair,unlink,unlinkat"
# Every STEPth call in CI; OCI_CRASH_STEP=1 tries each.
STEP = int(os.environ.get("OCI_CRASH_STEP", "9"))


class Killed:
    """A command that is killed at a call, with `follow` its children, too, each at its own.

    `early` says whether it was killed before its end. `close` after the container was deleted.
    """

    def __init__(self, runtime: Runtime, number: int, follow: bool, *arguments: str) -> None:
        strace = ["strace", *(["-f"] if follow else []), "-o", "/dev/null", "-e",
                  f"trace={CALLS}", "-e", f"inject={CALLS}:signal=KILL:when={number}"]  # fmt: skip
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(
            [*strace, *COMMAND, "--root", str(runtime.root), *arguments],
            stdin=quiet, stdout=quiet, stderr=quiet,
        )  # fmt: skip
        if follow:
            # strace itself waits for the end of the container.
            wait_until(lambda: self.process.poll() is not None or is_created(runtime))
        else:
            self.process.wait(60)

    def close(self) -> None:
        # Not before: with `follow` it may be seen as created a moment before it is killed.
        self.early = self.process.wait(60) not in (0, 1)


def is_created(runtime: Runtime) -> bool:
    """Return whether a container waits for its start, or was started."""
    result = runtime.command("state", runtime.name, check=False)
    return '"created"' in result.stdout or '"running"' in result.stdout


@pytest.fixture
def nobody_left() -> Iterator[None]:
    machine.count_subreaper(1)
    before = machine.descendants(os.getpid())
    yield
    assert machine.left_processes(before) == []
    machine.count_subreaper(-1)


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.usefixtures("nobody_left")
def test_killed_while_it_creates(runtime: Runtime, follow: bool) -> None:
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "exec sleep 0.01"]}
    runtime.config["hooks"] = {"createRuntime": [hook], "createContainer": [hook]}
    runtime.config["process"]["args"] = ["/bin/sleep", "100"]
    runtime.write()
    number, killed = 1, True
    while killed:
        command = Killed(runtime, number, follow, "create", "-b", str(runtime.bundle),
                           runtime.name)  # fmt: skip
        runtime.delete("--force")
        command.close()
        killed = command.early
        assert runtime.leftovers() == [], number
        number += STEP
    assert number > 20


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.usefixtures("nobody_left")
def test_killed_while_it_runs(runtime: Runtime, follow: bool) -> None:
    runtime.config["process"]["args"] = ["/bin/sleep", "100"]
    runtime.write()
    number, done = 1, False
    while not done:
        command = Killed(runtime, number, follow, "run", "-d", "-b", str(runtime.bundle),
                         runtime.name)  # fmt: skip
        # It is on record, or it is gone.
        alive = runtime.exists() and runtime.status() == "running"
        runtime.delete("--force")
        command.close()
        done = alive and not command.early
        assert runtime.leftovers() == [], number
        number += STEP
    assert number > 1 + STEP  # some were killed


@pytest.mark.usefixtures("nobody_left")
def test_killed_while_it_starts(runtime: Runtime) -> None:
    number, killed = 1, True
    while killed:
        runtime.create("/bin/sleep", "100")
        command = Killed(runtime, number, False, "start", runtime.name)
        assert runtime.status() in ("created", "running")
        runtime.delete("--force")
        command.close()
        killed = command.early
        assert runtime.leftovers() == [], number
        number += 1


@pytest.mark.usefixtures("nobody_left")
def test_killed_while_it_deletes(runtime: Runtime) -> None:
    number, killed = 1, True
    while killed:
        runtime.create("/bin/sleep", "100")
        runtime.start()
        command = Killed(runtime, number, False, "delete", "--force", runtime.name)
        runtime.delete("--force")
        command.close()
        killed = command.early
        assert runtime.leftovers() == [], number
        number += 2
