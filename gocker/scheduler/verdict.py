"""What an attempt's end means, and what follows from it. Pure functions."""

from __future__ import annotations

from gocker.scheduler.messages import shell_code

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.plan.model import Restart, Unit
    from gocker.scheduler.messages import Exited, VerdictName


# Reasons of a stop that belong to the attempt itself; every other one is somebody's decision.
TIMEOUT = "timeout"
RUN_TIMEOUT = "run_timeout"
# A program of post_start failed.
POST_START = "post_start"
_OWN_FAULT = (None, TIMEOUT, RUN_TIMEOUT)

# dockerd's restart manager: 100 ms, doubled up to a minute, anew after ten seconds of life.
_RESTART_FIRST_S = 0.1
_RESTART_MAX_S = 60.0
_RESTART_RESET_S = 10.0
_MAX_EXPONENT = 64


def judge(unit: Unit, exited: Exited, stop_reason: str | None, oom_kills: int = 0) -> VerdictName:
    """Return the verdict on an attempt that was executed and is over.

    An OOM kill or a refused fork explains a failure, also when only a child was killed and also
    when the attempt then hung until its timeout; it does not make a failure of a success.

    Args:
        unit: its role and success codes matter.
        exited: how it ended, and the cgroup's figures.
        stop_reason: why gocker stopped it, or None.
        oom_kills: as told by `Oom` events, for kernels whose cgroup does not count them.
    """
    if stop_reason == POST_START:
        return "start_failed"
    if unit.role == "support" and stop_reason not in (None, TIMEOUT):
        return "ok"
    if stop_reason not in _OWN_FAULT:
        return "cancelled"
    if stop_reason is None and shell_code(exited.code, exited.signal) in unit.success_codes:
        return "ok"
    if max(oom_kills, oom_kills_of(exited)):
        return "oom"
    if exited.evidence.get("pids.denied"):
        return "pids"
    if stop_reason is not None:
        return "timeout"
    return "exit" if exited.signal is None else "signal"


def fail_on(unit: Unit, exited: Exited, oom_kills: int = 0) -> tuple[VerdictName, str] | None:
    """Return the verdict and the event by which a success is a failure after all, or None.

    There is no verdict for throttling: such an attempt has ended as it should not, so `exit`.
    """
    for word in unit.fail_on:
        event, _, least = word.partition(">")
        if event == "oom" and max(oom_kills, oom_kills_of(exited)):
            return "oom", "an OOM kill in it"
        if event == "pids" and exited.evidence.get("pids.denied"):
            return "pids", "refused forks"
        if event == "throttled":
            percent = throttled_percent(exited)
            if percent > float(least.removesuffix("%") or 0):
                return "exit", f"being throttled for {percent:.0f} % of its time"
    return None


def throttled_percent(exited: Exited) -> float:
    """Return the part of its life that a container waited for its CPU quota."""
    throttled_s = exited.evidence.get("cpu.throttled_s") or 0.0
    return 100.0 * throttled_s / exited.duration_s if exited.duration_s else 0.0


def oom_kills_of(exited: Exited) -> int:
    """Return how many processes were killed for memory; 0 if the kernel does not say."""
    return exited.evidence.get("memory.oom_kills") or 0


def is_allowed(unit: Unit, verdict: VerdictName, own_code: int | None) -> bool:
    """Return whether the spec allows this failure.

    Args:
        unit: the unit.
        verdict: the verdict.
        own_code: the code it ended with by itself; None if it was stopped or did not start.
    """
    if verdict in ("ok", "skipped", "cancelled"):
        return False
    return unit.allow_failure or own_code in unit.allow_failure_codes


def wants_retry(unit: Unit, verdict: VerdictName, own_code: int | None, retries: int) -> bool:
    """Return whether `x-gocker.retry` asks for another attempt after `retries` ones."""
    if verdict in ("ok", "skipped", "cancelled") or retries >= unit.retry.max:
        return False
    when = unit.retry.when
    return not when or any(_matches(word, verdict, own_code) for word in when)


def _matches(word: str, verdict: VerdictName, own_code: int | None) -> bool:
    if not word.startswith("exit:"):
        return word == verdict
    first, _, last = word.removeprefix("exit:").partition("-")
    return own_code is not None and int(first) <= own_code <= int(last or first)


def retry_delay(unit: Unit, attempt: int) -> float:
    """Return the seconds between the end of `attempt` and the next one."""
    return unit.retry.delay_s * unit.retry.backoff ** min(attempt - 1, _MAX_EXPONENT)


def wants_restart(
    unit: Unit, verdict: VerdictName, restarts: int, *, detached: bool = False
) -> bool:
    """Return whether the restart policy asks for a restart after `restarts` ones.

    A job that succeeded is done whatever its policy; but in a `detached` project, where nobody
    waits for the result, the policy counts as Docker's.
    """
    policy = unit.restart
    if policy.condition == "no":
        return False
    if policy.max_attempts is not None and restarts >= policy.max_attempts:
        return False
    if verdict == "ok":
        return (unit.role == "support" or detached) and policy.condition != "on-failure"
    return True


def restart_delay(policy: Restart, previous_s: float, lived_s: float) -> float:
    """Return the seconds before a restart: the spec's delay, or dockerd's back-off.

    Args:
        policy: the restart policy.
        previous_s: what this function returned for the previous restart, 0 for none.
        lived_s: how long the container ran.
    """
    if policy.delay_s:
        return policy.delay_s
    if lived_s >= _RESTART_RESET_S or not previous_s:
        return _RESTART_FIRST_S
    return min(previous_s * 2, _RESTART_MAX_S)
