"""The records that the machine decides on: fields as in `gocker.events`.

Those named ``container.*`` lack ``container.id``, which only the executor knows.
"""

from __future__ import annotations

from gocker.scheduler.messages import Record, signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.scheduler.health import Health
    from gocker.scheduler.messages import HookDone, Outcome, VerdictName
    from gocker.scheduler.node import Node


_OUTPUT_BYTES = 4096


def _unit(node: Node) -> dict[str, Any]:
    return {"service": node.unit.service, "instance": node.unit.name}


def _attempt(node: Node) -> dict[str, Any]:
    return {**_unit(node), "attempt": node.attempt}


def health(node: Node, state: Health, output: str, exit_code: int | None = None) -> Record:
    """The health state changed; `output` and `exit_code` are the last probe's."""
    tail = output.encode()[-_OUTPUT_BYTES:].decode(errors="ignore")
    fields = {"status": state.status, "failing_streak": state.failing_streak, "output": tail,
              "exit_code": exit_code}  # fmt: skip
    return Record("container.health", _attempt(node) | fields)


def ready(node: Node, status: str, output: str) -> Record:
    """The state of a unit without healthcheck changed; `output` is the line that said so."""
    tail = output.encode()[-_OUTPUT_BYTES:].decode(errors="ignore")
    fields = {"status": status, "failing_streak": 0, "output": tail}
    return Record("container.health", _attempt(node) | fields)


def stopping(node: Node, signum: int, reason: str) -> Record:
    """A signal is sent to end the container."""
    fields = {"signal": signal_name(signum), "reason": reason}
    return Record("container.stopping", _attempt(node) | fields)


def hook(node: Node, event: HookDone) -> Record:
    """A program of post_start or pre_stop ended."""
    tail = event.output.encode()[-_OUTPUT_BYTES:].decode(errors="ignore")
    fields = {"hook": event.kind, "number": event.number + 1, "exit_code": event.exit_code,
              "output": tail}  # fmt: skip
    return Record("container.hook", _attempt(node) | fields)


def paused(node: Node) -> Record:
    """The container's processes are frozen."""
    return Record("container.paused", _attempt(node))


def unpaused(node: Node) -> Record:
    """The container's processes go on."""
    return Record("container.unpaused", _attempt(node))


def retry(node: Node, verdict: VerdictName, delay_s: float) -> Record:
    """Another attempt follows, by retry or restart."""
    return Record("job.retry", _attempt(node) | {"verdict": verdict, "delay_s": delay_s})


def skipped(node: Node, because: str) -> Record:
    """The unit will never run."""
    return Record("job.skipped", _unit(node) | {"because": because})


def finished(node: Node, outcome: Outcome) -> Record:
    """The last word on a unit."""
    fields = {
        "verdict": outcome.verdict,
        "attempts": outcome.attempts,
        "allowed": outcome.allowed,
        "failed": outcome.failed,
    }
    return Record("job.finished", _unit(node) | fields)


def interrupted(signum: int) -> Record:
    """A signal asked gocker to stop."""
    return Record("run.interrupted", {"signal": signal_name(signum)})


def not_required(node: Node, dependency: str) -> Record:
    """A dependency with ``required: false`` did not fulfil its condition."""
    return _warned(node, f"goes on without {dependency!r}, which it does not require", None)


def survived_oom(node: Node, kills: int) -> Record:
    """A job succeeded although the kernel killed a child of it."""
    message = f"succeeded although {kills} of its processes were killed for memory"
    return _warned(node, message, "raise mem_limit, or let the job fail when a child is killed")


def failed_on(node: Node, event: str) -> Record:
    """A limit event made a failure of a success, as the spec asks for."""
    return _warned(node, f"failed on {event}, as x-gocker.limits.fail_on says", None)


def support_ended(node: Node) -> Record:
    """A support service exited with 0 by itself."""
    hint = "if it is a step, wait for service_completed_successfully or set x-gocker.role: job"
    return _warned(node, "a support service ended by itself", hint)


def _warned(node: Node, message: str, hint: str | None) -> Record:
    return Record("job.warned", _unit(node) | {"message": message, "hint": hint})
