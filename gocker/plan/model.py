"""The plan: what the scheduler runs. Plain values, made by `gocker.plan`, read by everyone.

Times are seconds. A *unit* is one instance of a service: a replica or a matrix combination.
"""

from __future__ import annotations

from gocker.values import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from gocker import oci
    from gocker.network.model import Attachment, NetworkPlan

    Condition = Literal["service_started", "service_healthy", "service_completed_successfully"]
    When = Literal["on_success", "on_failure", "always"]
    Role = Literal["job", "support"]

# Begins the source of an anonymous volume's mount; the executor puts a directory there.
ANONYMOUS = "anonymous:"


@dataclass(frozen=True, slots=True)
class Dependency:
    """An edge to one unit (a dependency on a service means one on each of its units)."""

    unit: str
    condition: Condition = "service_started"
    required: bool = True
    restart: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """Further attempts after a failed one, each in a new container.

    `when`: verdicts, ``exit:N`` or ``exit:N-M``; empty means any failure. The delay before
    attempt n+1 is ``delay_s * backoff ** (n - 1)``.
    """

    max: int = 0
    when: tuple[str, ...] = ()
    delay_s: float = 0.0
    backoff: float = 1.0


@dataclass(frozen=True, slots=True)
class Restart:
    """Compose's restart policy. `max_attempts` None means without end.

    `window_s`: a container that lived so long has succeeded to start: restarts before it do not
    count any more. 0: they always do.
    """

    condition: Literal["no", "on-failure", "always", "unless-stopped"] = "no"
    max_attempts: int | None = None
    delay_s: float = 0.0
    window_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """Compose's healthcheck with its defaults filled in. `test` is an argv."""

    test: tuple[str, ...]
    interval_s: float = 30.0
    timeout_s: float = 30.0
    retries: int = 3
    start_period_s: float = 0.0
    start_interval_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Ready:
    """When a unit without healthcheck counts as healthy; one of the two is set.

    `log`: a regular expression that a line of its output has to contain. `port`: a TCP port of
    127.0.0.1 in the host's network that has to accept.
    """

    log: str | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a running unit takes of the host for itself, or what the host has. Bytes of memory."""

    cpus: float = 0.0
    memory: int = 0


@dataclass(frozen=True, slots=True)
class Artifacts:
    """Files to copy out of a container that has ended.

    `paths` are absolute globs, `reports` those of JUnit files. `when` is about `paths` only;
    `max_size`: bytes of one attempt's files together.
    """

    paths: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()
    when: When = "always"
    max_size: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What is known of a unit's limits, for tables and verdicts. None means unlimited."""

    memory: int | None = None
    pids: int | None = None
    cpus: float | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """Everything the scheduler needs to know about one instance."""

    name: str
    service: str
    image: str
    role: Role = "job"
    depends: tuple[Dependency, ...] = ()
    when: When = "on_success"
    timeout_s: float | None = None
    retry: Retry = Retry()
    restart: Restart = Restart()
    # Exit codes that count as success, and failures that do not fail the run.
    success_codes: frozenset[int] = frozenset({0})
    allow_failure: bool = False
    allow_failure_codes: frozenset[int] = frozenset()
    stop_signal: int = 15
    stop_grace_s: float = 10.0
    health: Healthcheck | None = None
    ready: Ready | None = None
    limits: Limits = Limits()
    # Events that make a success a failure: ``oom``, ``pids``, ``throttled`` or ``throttled>50%``.
    fail_on: tuple[str, ...] = ()
    reserve: Reservation = Reservation()
    best_effort: bool = False
    # How many hooks its container has.
    post_start: int = 0
    pre_stop: int = 0
    # Whether its containers outlive the process that runs the project.
    on_supervisor_death: Literal["kill", "keep"] = "kill"
    # Group for `matrix.max_parallel` and `matrix.fail_fast`; None when neither applies.
    matrix: str | None = None


@dataclass(frozen=True, slots=True)
class Prepare:
    """A directory on the host that must exist before the first attempt.

    `kind`: ``volume`` is a named volume, ``bind`` a bind mount's source that the spec allows
    to be created, ``anonymous`` a volume of one container only, `path` being its target.
    `copy`: path in the image whose content a new volume begins with; empty for none.
    """

    kind: Literal["volume", "bind", "anonymous"]
    path: str
    name: str = ""
    copy: str = ""


@dataclass(frozen=True, slots=True)
class Landlock:
    """Limits by landlock(7). `scopes`: ``abstract`` and ``signal``; ports None are all ports.

    `log`: denials are audit records also after the program executed others.
    """

    scopes: tuple[str, ...] = ()
    tcp_bind: tuple[int, ...] | None = None
    tcp_connect: tuple[int, ...] | None = None
    log: bool = False

    def wire(self) -> oci.Landlock:
        """Return it as the launcher takes it."""
        found: oci.Landlock = {"scopes": [*self.scopes]}
        if self.tcp_bind is not None:
            found["tcp_bind"] = [*self.tcp_bind]
        if self.tcp_connect is not None:
            found["tcp_connect"] = [*self.tcp_connect]
        if self.log:
            found["log"] = True
        return found

    def for_exec(self) -> dict[str, oci.Landlock]:
        """Return the part of a request that confines a further process: where something is shared.

        It would be in a domain of its own, and so could not look at the container's processes
        (ptrace(2), most of /proc/PID); where the wall is to the outside, it has to stand.
        """
        ports = self.tcp_bind is not None or self.tcp_connect is not None
        return {"landlock": self.wire()} if self.scopes or ports else {}


@dataclass(frozen=True, slots=True)
class Container:
    """How to make a unit's container, without what differs per attempt.

    `config` has no linux.cgroupsPath; the executor adds it with the container's id. `lower`:
    directories of the root's overlay, topmost first; `hidden`: paths in it that are shown as
    empty directories, with their modes. `files` and `grants` (secrets and configs, which the
    container cannot write) are bound from a private tmpfs. `root`: mode and owner of the root
    directory, if not the usual ones. `network`: None is a namespace of its own
    with `lo`, or the host's.
    """

    config: oci.Config
    lower: tuple[str, ...]
    hidden: tuple[tuple[str, int], ...] = ()
    files: tuple[oci.File, ...] = ()
    grants: tuple[oci.File, ...] = ()
    init: bool = False
    attach: bool = True
    prepare: tuple[Prepare, ...] = ()
    artifacts: Artifacts | None = None
    # Name of its security profile: `gocker.plan.profiles`.
    profile: str = "default"
    landlock: Landlock | None = None
    root: tuple[int, ...] = ()
    network: Attachment | None = None
    # Namespaces of other units that it is in: (type, unit); "mount" is where /dev/shm is from.
    joins: tuple[tuple[str, str], ...] = ()
    # Below which cgroup its own are made; None is gocker's choice.
    cgroup_parent: str | None = None
    # Whether standard input stays open, for those who attach.
    stdin_open: bool = False
    # Limits of gocker's own choice (OCI's names): where they cannot be set, it starts without.
    optional: tuple[str, ...] = ()
    # Programs that are executed in it: when it has started, and before its stop signal.
    post_start: tuple[oci.Process, ...] = ()
    pre_stop: tuple[oci.Process, ...] = ()


@dataclass(frozen=True, slots=True)
class MatrixGroup:
    """The units of one matrix."""

    max_parallel: int | None = None
    fail_fast: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The graph. `units` is in a stable topological order."""

    project: str
    units: dict[str, Unit]
    containers: dict[str, Container] = field(default_factory=dict)
    matrices: dict[str, MatrixGroup] = field(default_factory=dict)
    timeout_s: float | None = None
    parallel: int = 1
    fail_fast: bool = False
    files: tuple[str, ...] = ()
    # The project's directory, where artifacts go.
    directory: str = ""
    # Whose root file systems are kept.
    keep: Literal["never", "on_failure", "always"] = "never"
    # What may be reserved at once; None: reservations keep no job waiting.
    capacity: Reservation | None = None
    # Values that are shown as ``***``: of secrets, and of variables that the spec names.
    mask: tuple[str, ...] = ()
    # Events for the log's head: security.relaxed and key.ignored, as (name, fields).
    notes: tuple[tuple[str, dict[str, Any]], ...] = ()
    # None: the project uses no networks.
    network: NetworkPlan | None = None
    # All services of the spec, also those that the plan leaves out: others are orphans.
    services: tuple[str, ...] = ()
    # File and line of each service in the spec.
    places: dict[str, tuple[str, int]] = field(default_factory=dict)
