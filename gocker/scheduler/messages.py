"""What the scheduler's machine is told (events) and what it asks for (commands).

The executor answers every `Start` with exactly one `StartFailed`, or with `Started` and, later,
one `Exited`. It answers every `Probe` with one `ProbeDone`, unless the container is gone first.
Events of an attempt that is over are ignored. Times are seconds, signals are numbers.
"""

from __future__ import annotations

import signal

from gocker.values import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal

    from gocker.plan.model import Healthcheck, Plan

    VerdictName = Literal[
        "ok", "exit", "oom", "pids", "timeout", "signal",
        "unhealthy", "start_failed", "skipped", "cancelled",
    ]  # fmt: skip
    Next = Literal["done", "retry", "restart"]


# Events -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """The program of the unit's container was executed."""

    unit: str
    attempt: int


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The container could not be made. `error` is from `errors.GockerError.to_wire`."""

    unit: str
    attempt: int
    error: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Exited:
    """Every process of the container is gone. Exactly one of `code` and `signal` is set.

    `evidence` has the cgroup's figures, under the keys of the event ``container.exited``.
    """

    unit: str
    attempt: int
    code: int | None = None
    signal: int | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Oom:
    """The kernel has killed `oom_kills` processes of this container so far."""

    unit: str
    attempt: int
    oom_kills: int = 1


@dataclass(frozen=True, slots=True)
class ProbeDone:
    """A healthcheck's probe ended; `exit_code` None: it ran out of time or could not run."""

    unit: str
    attempt: int
    exit_code: int | None
    output: str = ""


@dataclass(frozen=True, slots=True)
class HookDone:
    """A program of a `Hook` ended; `exit_code` is 1 if it could not be executed, too."""

    unit: str
    attempt: int
    kind: Literal["post_start", "pre_stop"]
    number: int
    exit_code: int
    output: str = ""


@dataclass(frozen=True, slots=True)
class ReadyLine:
    """A line of the container's output matched `Unit.ready.log`."""

    unit: str
    attempt: int
    line: str = ""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """gocker received a signal that asks it to stop; the second one means kill."""

    signal: int


@dataclass(frozen=True, slots=True)
class LauncherLost:
    """The launcher is gone, and every container with it."""

    error: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StopUnits:
    """A user wants units to end, dependents first; their restart policies do not count then.

    `timeout_s`: instead of their own grace periods.
    """

    units: tuple[str, ...]
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class StartUnits:
    """A user wants units that are over to run again, after what they depend on."""

    units: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RestartUnits:
    """A user wants units to end and to run again; those that are over, to run again.

    `dependents`: also those whose ``depends_on.restart`` says so.
    """

    units: tuple[str, ...]
    timeout_s: float | None = None
    dependents: bool = True


@dataclass(frozen=True, slots=True)
class SignalUnits:
    """A user sends a signal; SIGKILL ends a unit for good."""

    units: tuple[str, ...]
    signal: int


@dataclass(frozen=True, slots=True)
class PauseUnits:
    """A user freezes the processes of units, or lets them go on."""

    units: tuple[str, ...]
    paused: bool


@dataclass(frozen=True, slots=True)
class BringDown:
    """A user ends the run, dependents first. Said twice it is the same as once."""

    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Adopt:
    """The plan is another one now: units that differ are replaced, new ones made.

    Attributes:
        plan: from now on; units that it lacks stay as they are unless they are in `remove`.
        renew: units that differ, or are to be made anew in any case.
        remove: units to end for good.
        start: units that are to run; others that are new are not started.
        timeout_s: of what is stopped.
    """

    plan: Plan
    renew: frozenset[str] = frozenset()
    remove: frozenset[str] = frozenset()
    start: frozenset[str] = frozenset()
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Await:
    """Somebody waits for units; one `Answer` with this token follows.

    `what`: ``decided``: each was started once, waits for a slot, or never will run. ``ready``:
    each is running, healthy if it says how, or over without failing the run. ``over``: each is.
    ``served``: as ``ready``, and a unit without health need only have started.
    `gone`: units that have to be over besides, whatever the others wait for.
    """

    token: int
    what: Literal["decided", "ready", "served", "over"]
    units: tuple[str, ...]
    gone: tuple[str, ...] = ()


Request = (
    StopUnits | StartUnits | RestartUnits | SignalUnits | PauseUnits | BringDown | Adopt | Await
)
REQUESTS = (
    StopUnits, StartUnits, RestartUnits, SignalUnits, PauseUnits, BringDown, Adopt, Await,
)  # fmt: skip
Event = (
    Started | StartFailed | Exited | Oom | ProbeDone | HookDone | ReadyLine | Interrupted
    | LauncherLost | Request
)  # fmt: skip

# Commands -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Make and start a new container for the unit."""

    unit: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Send `signal` to the container's first process."""

    unit: str
    attempt: int
    signal: int
    reason: str


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill every process of the container. May come before `Started`."""

    unit: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Run the healthcheck's test in the container, at most `healthcheck.timeout_s`."""

    unit: str
    attempt: int
    healthcheck: Healthcheck


@dataclass(frozen=True, slots=True)
class Hook:
    """Execute a program of ``post_start`` or ``pre_stop``, by its place from 0; see `HookDone`."""

    unit: str
    attempt: int
    kind: Literal["post_start", "pre_stop"]
    number: int


@dataclass(frozen=True, slots=True)
class Connect:
    """Connect to a TCP port of the unit; answered by `ProbeDone` as a probe is, 0 for accepted."""

    unit: str
    attempt: int
    port: int


@dataclass(frozen=True, slots=True)
class Record:
    """Log an event. To names that begin with ``container.`` the executor adds container.id."""

    event: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an attempt: the executor's container.exited or container.failed has it."""

    unit: str
    attempt: int
    verdict: VerdictName
    next: Next


@dataclass(frozen=True, slots=True)
class Signal:
    """Send `signal` to the container's first process; it is not asked to end by that."""

    unit: str
    attempt: int
    signal: int


@dataclass(frozen=True, slots=True)
class Freeze:
    """Freeze the container's processes, or thaw them."""

    unit: str
    attempt: int
    frozen: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What an `Await` waits for has come (0) or cannot come any more (1), because of a unit."""

    token: int
    exit_code: int
    because: str | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """The run is over; the last command. The fields are those of the event run.finished."""

    exit_code: int
    reason: str
    totals: Mapping[str, int]
    error: Mapping[str, Any] | None = None


Command = (
    Start
    | Stop
    | Kill
    | Signal
    | Freeze
    | Probe
    | Hook
    | Connect
    | Record
    | Verdict
    | Answer
    | Finish
)

# Around a run -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says about a run. None: as the plan says.

    `parallel`: jobs at once, 0 or less for no limit. `stop_grace_s`: instead of every unit's
    own (``up -t``). `exit_code_from`: a service or an instance. `detached`: services live until
    somebody stops them, also when all jobs are done. `start`: False only notes the units.
    """

    parallel: int | None = None
    max_time_s: float | None = None
    fail_fast: bool | None = None
    exit_code_from: str | None = None
    abort_on_container_exit: bool = False
    abort_on_container_failure: bool = False
    stop_grace_s: float | None = None
    detached: bool = False
    start: bool = True


_ERROR_CODES = {"CannotExecute": 126, "CommandNotFound": 127}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The last word on a unit; code, signal, evidence and error are its last attempt's.

    `allowed`: a failure that the spec allows. `failed`: it makes the run fail.
    """

    unit: str
    verdict: VerdictName
    attempts: int = 0
    allowed: bool = False
    failed: bool = False
    because: str | None = None
    code: int | None = None
    signal: int | None = None
    duration_s: float | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None

    @property
    def exit_code(self) -> int | None:
        """The code as a shell shows it; 125 to 127 if it could not start; None if not tried."""
        if self.error is not None:
            return _ERROR_CODES.get(self.error["type"], 125)
        return shell_code(self.code, self.signal)


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended. `totals` counts units by verdict."""

    exit_code: int
    reason: str
    totals: Mapping[str, int]
    outcomes: Mapping[str, Outcome]
    error: Mapping[str, Any] | None = None


def shell_code(code: int | None, signum: int | None) -> int | None:
    """Return the exit code, 128 + n for a signal, None for neither."""
    return code if signum is None else 128 + signum


def signal_name(number: int) -> str:
    """Return ``SIGTERM`` for 15 and ``SIGRTMIN+3`` for 37 (glibc's numbering, signal(7))."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
