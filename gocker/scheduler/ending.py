"""When a run ends before its jobs do, and with which exit code (docs/scheduler.md)."""

from __future__ import annotations

import signal

from gocker.errors import EXIT_JOB_FAILED, EXIT_TIMEOUT, HostError, UsageError
from gocker.scheduler.verdict import RUN_TIMEOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from gocker.scheduler.messages import Options, Outcome
    from gocker.scheduler.node import Node


ABORT = "abort"
INTERRUPTED = "interrupted"
FAIL_FAST = "fail_fast"
DOWN = "down"
STOPPED = "stopped"
KILLED = "killed"
LAUNCHER_LOST = "launcher_lost"

# A unit that could not start for one of these is the host's or our failure, not the job's.
_HOST_ERRORS = ("HostError", "InternalError")


class Ending:
    """Collects what decides the exit code."""

    def __init__(self, options: Options, nodes: Mapping[str, Node]) -> None:
        self.closing: str | None = None
        self.signal = 0
        self.error: Mapping[str, Any] | None = None
        self._options = options
        self._failed = False
        self._abort_code: int | None = None
        name = options.exit_code_from
        self._from = [n for n in nodes.values() if name in (n.unit.service, n.name)] if name else []
        self._from_left = len(self._from)
        if name and not self._from:
            raise UsageError(f"--exit-code-from: no such service: {name!r}")

    def resumed(self, node: Node, outcome: Outcome) -> None:
        """Take a unit's outcome that an earlier supervisor has told."""
        self._note_failure(outcome)
        if self._options.exit_code_from in (node.unit.service, node.name):
            self._from_left -= 1

    def finished(self, node: Node, outcome: Outcome) -> bool:
        """Take a unit's outcome; return whether the run has to be stopped because of it."""
        self._note_failure(outcome)
        options = self._options
        if options.exit_code_from in (node.unit.service, node.name):
            self._from_left -= 1
        if self.closing is not None:
            return False
        if options.exit_code_from:
            return self._from_left == 0 or outcome.failed
        if self._aborts(node, outcome):
            self._abort_code = _code(outcome)
            return True
        return False

    def _note_failure(self, outcome: Outcome) -> None:
        if not outcome.failed:
            return
        self._failed = True
        error = outcome.error
        if error is not None and error["type"] in _HOST_ERRORS and self.error is None:
            self.error = error

    def _aborts(self, node: Node, outcome: Outcome) -> bool:
        if outcome.exit_code is None or node.stop_reason not in (None, "timeout"):
            return False
        if self._options.abort_on_container_exit:
            # A step that others wait for to complete is not the end of the show.
            return outcome.verdict != "ok" or not node.on_completed
        return self._options.abort_on_container_failure and outcome.failed

    def decide(self) -> tuple[int, str]:
        """Return the exit code and the reason of run.finished."""
        if self.closing == LAUNCHER_LOST:
            return HostError.exit_code, "error"
        if self.closing == INTERRUPTED:
            return 128 + self.signal, "interrupted"
        if self.closing == DOWN:
            # Nobody has cut short what was to live until then.
            return 0 if self._options.detached else 128 + signal.SIGTERM, DOWN
        if self.closing == RUN_TIMEOUT:
            return EXIT_TIMEOUT, "run_timeout"
        if self.error is not None:
            return HostError.exit_code, "error"
        code = self._code_from()
        if code is None:
            code = self._abort_code
        if code is None:
            code = EXIT_JOB_FAILED if self._failed else 0
        return code, "job_failed" if code or self._failed else "jobs_ok"

    def _code_from(self) -> int | None:
        """Return the code of `exit_code_from`: its first instance's that is not 0."""
        codes = [_code(node.outcome) for node in self._from if node.outcome is not None]
        tried = [code for code in codes if code is not None]
        return next(filter(None, tried), 0) if tried else None


def _code(outcome: Outcome) -> int | None:
    """Return a unit's exit code; a failure that ended with 0, as an unhealthy one, has 1."""
    code = outcome.exit_code
    return EXIT_JOB_FAILED if code == 0 and outcome.failed else code
