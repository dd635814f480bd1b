"""R16: every exit code and every death by a signal is told as it was.

10,000 jobs: ``python -m tests.long r16``.
"""

from __future__ import annotations

import os
import signal

import pytest

from tests.support.command import Gocker, Spec

pytestmark = pytest.mark.root
# Those that end a process; busybox's shell ignores SIGQUIT, the C library keeps 32 and 33.
SIGNALS = sorted(
    set(range(1, 65))
    - {32, 33, signal.SIGQUIT, signal.SIGCHLD, signal.SIGCONT, signal.SIGSTOP, signal.SIGTSTP}
    - {signal.SIGTTIN, signal.SIGTTOU, signal.SIGURG, signal.SIGWINCH}
)
# The kernel spares PID 1 all signals but SIGKILL from outside (pid_namespaces(7)).
KINDS = ("code", "signal under init", "killed from outside")
End = tuple[int | None, str | None]


def job(number: int) -> tuple[dict[str, object], End]:
    """Return a service, and the exit code or the signal that it has to end with."""
    kind, value = KINDS[number % len(KINDS)], number // len(KINDS)
    if kind == "code":
        return {"command": ["sh", "-c", f"exit {value % 256}"]}, (value % 256, None)
    if kind == "killed from outside":
        return {"command": ["sleep", "1000"]}, (None, "SIGKILL")
    signum = SIGNALS[value % len(SIGNALS)]
    command = ["sh", "-c", f"kill -{signum} $$; sleep 9"]
    return {"command": command, "init": True}, (128 + signum, None)


def exit_codes(gocker: Gocker, jobs: int, first: int = 0) -> list[str]:
    """Run jobs with known ends; return those that were told otherwise."""
    made = {f"j{number}": job(number) for number in range(first, first + jobs)}
    spec: Spec = {"services": {name: service for name, (service, _) in made.items()}}
    running = gocker.start(spec, "--parallel", "100")
    for count in range(1, jobs + 1):
        started = running.wait_for("container.started", count=count)
        if made[started["instance"]][1][1] == "SIGKILL":
            os.kill(started["process.pid"], signal.SIGKILL)
    told = {
        record["instance"]: (record["process.exit.code"], record["process.exit.signal"])
        for record in running.finish().events("container.exited")
    }
    return [
        f"{name} {service['command']}: {told.get(name)}, not {end}"
        for name, (service, end) in made.items()
        if told.get(name) != end
    ]


def test_codes_and_signals(gocker: Gocker) -> None:
    assert exit_codes(gocker, 90) == []


@pytest.mark.parametrize(
    ("command", "code"), [("/nowhere", 127), ("nowhere", 127), ("/etc/passwd", 126), ("/etc", 126)]
)
def test_what_cannot_be_executed_has_the_shells_code(
    gocker: Gocker, command: str, code: int
) -> None:
    gocker.write({"services": {"job": {"command": ["true"]}}})
    assert gocker.command("run", "-f", str(gocker.root / "spec.yaml"), "job", command).code == code
