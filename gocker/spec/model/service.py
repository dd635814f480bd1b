"""A service: compose-spec 05-services.md.

Fields keep Compose's names. None means "not set"; defaults that the runtime chooses are
filled in by `gocker.plan`. Keys that are not built have no field: see `gocker.spec.support`.
"""

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from gocker.spec.model import forms
from gocker.spec.model.base import Bytes, Matching, Mode, Model, Seconds, lazy, short

if TYPE_CHECKING:
    from gocker.spec.model.blkio import BlkioConfig
    from gocker.spec.model.build import Build
    from gocker.spec.model.deploy import Deploy
    from gocker.spec.model.health import Healthcheck
    from gocker.spec.model.network import Port, ServiceNetwork
    from gocker.spec.model.volume import Mount
    from gocker.spec.model.xgocker import ServiceExtension

    DeployField: TypeAlias = Deploy | None
    HealthcheckField: TypeAlias = Healthcheck | None
    BlkioField: TypeAlias = BlkioConfig | None
    BuildField: TypeAlias = Build | None
    ExtensionField: TypeAlias = ServiceExtension | None
    Mounts: TypeAlias = tuple[Mount, ...]
    Ports: TypeAlias = tuple[Port, ...]
    Networks: TypeAlias = dict[str, ServiceNetwork]
else:
    DeployField = lazy("deploy", "Deploy")
    HealthcheckField = lazy("health", "Healthcheck")
    BlkioField = lazy("blkio", "BlkioConfig")
    BuildField = lazy("build", "Build")
    ExtensionField = lazy("xgocker", "ServiceExtension")
    Mounts = lazy("volume", "Mount", "tuple")
    Ports = lazy("network", "Port", "tuple")
    Networks = lazy("network", "ServiceNetwork", "dict")

Condition = Literal["service_started", "service_healthy", "service_completed_successfully"]
Argv = tuple[str, ...] | None
Strings = tuple[str, ...]


Hosts = Annotated[dict[str, Strings], BeforeValidator(forms.hosts)]
Restart = Annotated[
    str,
    Matching(
        r"no|always|unless-stopped|on-failure(:\d+)?",
        "no, always, unless-stopped or on-failure[:N]",
    ),
]


class Dependency(Model):
    """One entry of ``depends_on``."""

    condition: Condition = Field("service_started", description="what to wait for")
    required: bool = Field(True, description="false: a failure is only a warning")
    restart: bool = Field(False, description="restart with the dependency")


class EnvFile(Model):
    """One entry of ``env_file``."""

    path: str = Field(description="absolute path")
    required: bool = Field(True, description="false: a missing file is tolerated")
    format: Literal["raw"] | None = Field(None, description="raw: no quotes, no variables")


class Ulimit(Model):
    """One entry of ``ulimits``; -1 is unlimited. Unit: the resource's own, see setrlimit(2)."""

    soft: int = Field(ge=-1, description="soft limit")
    hard: int = Field(ge=-1, description="hard limit")

    _short = short(forms.ulimit)


class FileGrant(Model):
    """A secret or config granted to a service: one entry of ``secrets`` or ``configs``."""

    source: str = Field(description="key in the top-level element")
    target: str | None = Field(
        None, description="path in the container; default /run/secrets/NAME or /NAME"
    )
    uid: str | None = Field(None, description="owner, number in a string; default 0")
    gid: str | None = Field(None, description="group, number in a string; default 0")
    mode: Mode | None = Field(None, description="file mode; default 0444")


DeviceRule = Annotated[
    str,
    Matching(r"[abc] (\d{1,7}|\*):(\d{1,7}|\*) [rwm]{1,3}", "as c 1:3 rwm, numbers or *"),
]
Permissions = Annotated[str, Matching("[rwm]{1,3}", "letters of rwm")]


class Device(Model):
    """One entry of ``devices``."""

    source: str = Field(description="path on the host")
    target: str | None = Field(None, description="path in the container; default source")
    permissions: Permissions = Field("rwm", description="read, write, mknod")


class Container(Model):
    """What services and jobs have in common."""

    image: str | None = Field(None, description="image reference; with build, its name")
    build: BuildField = Field(None, description="how to make the image, if it is not here")
    command: Argv = Field(None, description="argv after the entrypoint; empty clears the image's")
    entrypoint: Argv = Field(None, description="argv; empty clears the image's")
    environment: dict[str, str | None] = Field({}, description="variables; null is not set")
    env_file: tuple[EnvFile, ...] = Field(
        (), description="files to read variables from; `environment` wins"
    )
    working_dir: str | None = Field(None, description="absolute path in the container")
    user: str | None = Field(None, description="uid or name, with :gid or :group")
    group_add: Strings = Field((), description="further groups, numbers or names")
    hostname: str | None = Field(None, description="host name in the UTS namespace")
    domainname: str | None = Field(None, description="NIS domain name")
    platform: str | None = Field(None, description="os/arch")
    pull_policy: str | None = Field(None, description="when to pull the image")

    volumes_from: Strings = Field((), description="services whose volumes it has, :ro or :rw")
    volumes: Mounts = Field((), description="mounts in the order of the file")
    tmpfs: Strings = Field((), description="path[:options] of tmpfs mounts")
    read_only: bool = Field(False, description="read-only root")
    shm_size: Bytes | None = Field(None, gt=0, description="size of /dev/shm, bytes")
    secrets: tuple[FileGrant, ...] = Field((), description="secrets granted")
    configs: tuple[FileGrant, ...] = Field((), description="configs granted")
    devices: tuple[Device, ...] = Field((), description="device nodes")

    depends_on: dict[str, Dependency] = Field({}, description="what must come first")
    healthcheck: HealthcheckField = Field(None, description="health probe")
    profiles: Strings = Field((), description="profiles that enable it")

    cpus: float | None = Field(None, ge=0, description="CPU limit, in CPUs")
    cpu_shares: int | None = Field(None, ge=0, description="relative CPU weight, 2..262144")
    cpu_quota: int | None = Field(None, ge=-1, description="CFS quota, microseconds")
    cpu_period: int | None = Field(None, ge=0, description="CFS period, microseconds")
    cpuset: str | None = Field(None, description="CPUs, as 0-3,5")
    mem_limit: Bytes | None = Field(None, ge=0, description="memory limit, bytes")
    mem_reservation: Bytes | None = Field(None, ge=0, description="soft memory limit, bytes")
    memswap_limit: Bytes | None = Field(
        None, ge=-1, description="memory plus swap, bytes; -1 unlimited"
    )
    mem_swappiness: int | None = Field(
        None, ge=-1, le=100, description="0..100, cgroup v1 only; -1 is the kernel's default"
    )
    oom_kill_disable: bool = Field(False, description="wait instead; cgroup v1 only")
    cpu_rt_period: int | None = Field(
        None, ge=0, description="realtime period, microseconds; cgroup v1 only"
    )
    cpu_rt_runtime: int | None = Field(
        None, ge=0, description="realtime runtime, microseconds; cgroup v1 only"
    )
    pids_limit: int | None = Field(None, ge=-1, description="most tasks; -1 unlimited")
    blkio_config: BlkioField = Field(None, description="block I/O weight and throttles")
    oom_score_adj: int | None = Field(
        None, ge=-1000, le=1000, description="badness offset for the OOM killer"
    )
    ulimits: dict[str, Ulimit] = Field({}, description="resource limits by name")

    cap_add: Strings = Field((), description="capabilities to add, with or without CAP_")
    cap_drop: Strings = Field((), description="capabilities to drop; ALL drops all")
    security_opt: Strings = Field((), description="confinement")
    sysctls: dict[str, str] = Field({}, description="kernel parameters of the namespaces")

    pid: str | None = Field(None, description="host, or service:NAME; default its own")
    ipc: str | None = Field(
        None, description="host, private, shareable, none or service:NAME; default private"
    )
    uts: Literal["host"] | None = Field(None, description="host: the host's names")
    cgroup: Literal["host", "private"] | None = Field(None, description="cgroup namespace")
    cgroup_parent: str | None = Field(None, description="cgroup below which it is made")
    device_cgroup_rules: tuple[DeviceRule, ...] = Field(
        (), description="devices it may use: type major:minor access"
    )
    privileged: bool = Field(False, description="all capabilities and devices, no masks")
    userns_mode: Literal["host", "auto"] | None = Field(
        None, description="auto: ids of the host that only this project has"
    )
    network_mode: str | None = Field(None, description="where its network is from")
    networks: Networks = Field({}, description="networks to join")
    ports: Ports = Field((), description="ports to publish")
    links: Strings = Field((), description="SERVICE[:ALIAS], further names of services")
    mac_address: str | None = Field(None, description="MAC address of the main interface")
    expose: Strings = Field((), description="ports it listens on; only documentation")
    extra_hosts: Hosts = Field({}, description="/etc/hosts: addresses by name")
    dns: Strings = Field((), description="name servers")
    dns_opt: Strings = Field((), description="resolver options")
    dns_search: Strings = Field((), description="search domains")

    init: bool | None = Field(None, description="run gocker's init as PID 1")
    tty: bool = Field(False, description="a terminal of its own")
    stdin_open: bool = Field(False, description="standard input stays open, for gocker attach")
    stop_signal: str | None = Field(None, description="name or number; default SIGTERM")
    stop_grace_period: Seconds | None = Field(
        None, ge=0, description="seconds between the stop signal and SIGKILL; default 10"
    )
    attach: bool = Field(True, description="false: its output is only in the log")

    labels: dict[str, str] = Field({}, description="metadata, in every event")
    annotations: dict[str, str] = Field({}, description="OCI annotations")
    x_gocker: ExtensionField = Field(None, alias="x-gocker", description="batch extensions")


class Hook(Model):
    """A program that is executed in a running container."""

    command: tuple[str, ...] = Field(description="argv")
    user: str | None = Field(None, description="user; default the service's")
    privileged: bool = Field(False, description="refused: never more than the container has")
    working_dir: str | None = Field(None, description="directory; default the service's")
    environment: dict[str, str | None] = Field({}, description="further variables")


class Service(Container):
    """A service of the application."""

    container_name: str | None = Field(None, description="fixed name; forbids replicas")
    deploy: DeployField = Field(None, description="replicas, resources, restart policy")
    scale: int | None = Field(None, ge=0, description="replicas")
    post_start: tuple[Hook, ...] = Field(
        (), description="programs to execute, one after the other, when it has started"
    )
    pre_stop: tuple[Hook, ...] = Field(
        (), description="programs to execute before its stop signal, within its grace period"
    )
    restart: Restart | None = Field(
        None, description="restart policy; on-failure takes :N, the most attempts"
    )

    @property
    def replicas(self) -> int:
        """Number of copies: ``scale``, else ``deploy.replicas``, else 1."""
        return forms.replicas(self)
