"""Types of the supported subset of the OCI runtime specification 1.2, and their keys.

A key outside these types is refused by `unsupported`, never ignored: "a new container MUST
NOT be created" (config.md, runtime.md). Source: opencontainers/runtime-spec, config.md and
config-linux.md.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict, get_type_hints


class User(TypedDict, total=False):
    """process.user.

    `username` is gocker's use of the field on Linux, instead of the numbers:
    ``user[:group] extra-group ...``, looked up in the container.
    """

    uid: int
    gid: int
    umask: int
    additionalGids: list[int]
    username: str


class Rlimit(TypedDict):
    """process.rlimits[]: soft and hard, in the unit of setrlimit(2)."""

    type: str
    soft: int
    hard: int


class Capabilities(TypedDict, total=False):
    """process.capabilities: the five sets of capabilities(7), by name."""

    bounding: list[str]
    effective: list[str]
    permitted: list[str]
    inheritable: list[str]
    ambient: list[str]


class Scheduler(TypedDict):
    """process.scheduler: sched_setattr(2); times are nanoseconds."""

    policy: str
    nice: NotRequired[int]
    priority: NotRequired[int]
    flags: NotRequired[list[str]]
    runtime: NotRequired[int]
    deadline: NotRequired[int]
    period: NotRequired[int]


# The functional form: "class" is a keyword.
IOPriority = TypedDict("IOPriority", {"class": str, "priority": NotRequired[int]})


class ExecCPUAffinity(TypedDict, total=False):
    """process.execCPUAffinity: of further processes, before and after they enter the cgroups."""

    initial: str
    final: str


class ConsoleSize(TypedDict):
    """process.consoleSize: characters."""

    height: int
    width: int


class Process(TypedDict):
    """process. `commandLine` is Windows's."""

    args: list[str]
    cwd: str
    user: NotRequired[User]
    env: NotRequired[list[str]]
    terminal: NotRequired[bool]
    consoleSize: NotRequired[ConsoleSize]
    rlimits: NotRequired[list[Rlimit]]
    capabilities: NotRequired[Capabilities]
    noNewPrivileges: NotRequired[bool]
    oomScoreAdj: NotRequired[int]
    commandLine: NotRequired[str]
    scheduler: NotRequired[Scheduler]
    ioPriority: NotRequired[IOPriority]
    execCPUAffinity: NotRequired[ExecCPUAffinity]
    apparmorProfile: NotRequired[str]
    selinuxLabel: NotRequired[str]


class Root(TypedDict):
    """root."""

    path: str
    readonly: NotRequired[bool]


class IDMapping(TypedDict):
    """linux.uidMappings[] and gidMappings[], also of a mount."""

    containerID: int
    hostID: int
    size: int


class Mount(TypedDict):
    """mounts[]: `options` as in mount(8); mappings with the options ``idmap`` and ``ridmap``."""

    destination: str
    type: NotRequired[str]
    source: NotRequired[str]
    options: NotRequired[list[str]]
    uidMappings: NotRequired[list[IDMapping]]
    gidMappings: NotRequired[list[IDMapping]]
    # Not OCI: a directory below `source`, found and made without leaving it.
    subpath: NotRequired[str]
    # Not OCI: a mount namespace in which `source` is found, the path of its file.
    namespace: NotRequired[str]


class Namespace(TypedDict):
    """linux.namespaces[]: a new one, or the one at `path`."""

    type: str
    path: NotRequired[str]


class Memory(TypedDict, total=False):
    """linux.resources.memory: bytes; -1 is unlimited; `swap` is memory plus swap."""

    limit: int
    reservation: int
    swap: int
    kernel: int
    kernelTCP: int
    swappiness: int
    disableOOMKiller: bool
    checkBeforeUpdate: bool
    useHierarchy: bool


class Cpu(TypedDict, total=False):
    """linux.resources.cpu: shares 2..262144, quota and period in microseconds."""

    shares: int
    quota: int
    burst: int
    period: int
    realtimeRuntime: int
    realtimePeriod: int
    cpus: str
    mems: str
    idle: int


class Pids(TypedDict):
    """linux.resources.pids: -1 is unlimited."""

    limit: int


class DeviceRule(TypedDict):
    """linux.resources.devices[]: `access` of the letters r, w, m; absent major is any."""

    allow: bool
    type: NotRequired[str]
    major: NotRequired[int]
    minor: NotRequired[int]
    access: NotRequired[str]


class WeightDevice(TypedDict):
    """blockIO.weightDevice[]."""

    major: int
    minor: int
    weight: NotRequired[int]
    leafWeight: NotRequired[int]


class ThrottleDevice(TypedDict):
    """blockIO.throttle*Device[]: bytes or operations per second."""

    major: int
    minor: int
    rate: int


class BlockIO(TypedDict, total=False):
    """linux.resources.blockIO: weight 10..1000."""

    weight: int
    leafWeight: int
    weightDevice: list[WeightDevice]
    throttleReadBpsDevice: list[ThrottleDevice]
    throttleWriteBpsDevice: list[ThrottleDevice]
    throttleReadIOPSDevice: list[ThrottleDevice]
    throttleWriteIOPSDevice: list[ThrottleDevice]


class HugepageLimit(TypedDict):
    """linux.resources.hugepageLimits[]: bytes of pages of a size, as ``2MB``."""

    pageSize: str
    limit: int


class Priority(TypedDict):
    """linux.resources.network.priorities[]."""

    name: str
    priority: int


class Network(TypedDict, total=False):
    """linux.resources.network."""

    classID: int
    priorities: list[Priority]


class Rdma(TypedDict, total=False):
    """linux.resources.rdma.DEVICE."""

    hcaHandles: int
    hcaObjects: int


class Resources(TypedDict, total=False):
    """linux.resources."""

    memory: Memory
    cpu: Cpu
    pids: Pids
    devices: list[DeviceRule]
    blockIO: BlockIO
    hugepageLimits: list[HugepageLimit]
    network: Network
    rdma: dict[str, Rdma]
    unified: dict[str, str]


class Device(TypedDict):
    """linux.devices[]: a node to make in the container's /dev."""

    type: str
    path: str
    major: NotRequired[int]
    minor: NotRequired[int]
    fileMode: NotRequired[int]
    uid: NotRequired[int]
    gid: NotRequired[int]


class SeccompArg(TypedDict):
    """linux.seccomp.syscalls[].args[]."""

    index: int
    value: int
    op: str
    valueTwo: NotRequired[int]


class SeccompRule(TypedDict):
    """linux.seccomp.syscalls[]."""

    names: list[str]
    action: str
    errnoRet: NotRequired[int]
    args: NotRequired[list[SeccompArg]]


class Seccomp(TypedDict):
    """linux.seccomp."""

    defaultAction: str
    defaultErrnoRet: NotRequired[int]
    architectures: NotRequired[list[str]]
    flags: NotRequired[list[str]]
    listenerPath: NotRequired[str]
    listenerMetadata: NotRequired[str]
    syscalls: NotRequired[list[SeccompRule]]


class TimeOffset(TypedDict, total=False):
    """linux.timeOffsets.monotonic and .boottime."""

    secs: int
    nanosecs: int


class TimeOffsets(TypedDict, total=False):
    """linux.timeOffsets."""

    monotonic: TimeOffset
    boottime: TimeOffset


class Personality(TypedDict):
    """linux.personality: LINUX or LINUX32."""

    domain: str
    flags: NotRequired[list[str]]


class MemoryPolicy(TypedDict):
    """linux.memoryPolicy: set_mempolicy(2)."""

    mode: str
    nodes: NotRequired[str]
    flags: NotRequired[list[str]]


class Linux(TypedDict, total=False):
    """linux."""

    namespaces: list[Namespace]
    uidMappings: list[IDMapping]
    gidMappings: list[IDMapping]
    timeOffsets: TimeOffsets
    devices: list[Device]
    cgroupsPath: str
    resources: Resources
    rootfsPropagation: str
    seccomp: Seccomp
    sysctl: dict[str, str]
    maskedPaths: list[str]
    readonlyPaths: list[str]
    mountLabel: str
    personality: Personality
    memoryPolicy: MemoryPolicy


class Config(TypedDict):
    """config.json."""

    ociVersion: str
    root: Root
    process: Process
    hostname: NotRequired[str]
    domainname: NotRequired[str]
    mounts: NotRequired[list[Mount]]
    linux: NotRequired[Linux]
    annotations: NotRequired[dict[str, str]]


class Landlock(TypedDict):
    """Not OCI: limits of landlock(7). `scopes`: ``abstract`` (sockets of others), ``signal``.

    `tcp_bind` and `tcp_connect`: the only ports; without the key, all. `log`: denials are
    audit records, also after further programs were executed.
    """

    scopes: list[str]
    tcp_bind: NotRequired[list[int]]
    tcp_connect: NotRequired[list[int]]
    log: NotRequired[bool]


class File(TypedDict):
    """Not OCI: a file that is made for the container. `mode` as in chmod(2)."""

    path: str
    content: str
    mode: int
    uid: NotRequired[int]
    gid: NotRequired[int]


_STRUCTS: dict[str, type] = {
    "": Config, "root": Root, "process": Process, "process.user": User,
    "process.scheduler": Scheduler, "process.ioPriority": IOPriority,
    "process.execCPUAffinity": ExecCPUAffinity, "process.consoleSize": ConsoleSize,
    "linux.personality": Personality, "linux.memoryPolicy": MemoryPolicy,
    "process.rlimits": Rlimit, "process.capabilities": Capabilities, "mounts": Mount,
    "mounts.uidMappings": IDMapping, "mounts.gidMappings": IDMapping,
    "linux.timeOffsets": TimeOffsets, "linux.timeOffsets.monotonic": TimeOffset,
    "linux.timeOffsets.boottime": TimeOffset,
    "linux.uidMappings": IDMapping, "linux.gidMappings": IDMapping,
    "linux": Linux, "linux.namespaces": Namespace, "linux.devices": Device,
    "linux.resources": Resources, "linux.resources.memory": Memory, "linux.resources.cpu": Cpu,
    "linux.resources.pids": Pids, "linux.resources.devices": DeviceRule,
    "linux.resources.hugepageLimits": HugepageLimit, "linux.resources.network": Network,
    "linux.resources.network.priorities": Priority,
    "linux.resources.blockIO": BlockIO, "linux.resources.blockIO.weightDevice": WeightDevice,
    "linux.resources.blockIO.throttleReadBpsDevice": ThrottleDevice,
    "linux.resources.blockIO.throttleWriteBpsDevice": ThrottleDevice,
    "linux.resources.blockIO.throttleReadIOPSDevice": ThrottleDevice,
    "linux.resources.blockIO.throttleWriteIOPSDevice": ThrottleDevice,
    "linux.seccomp": Seccomp, "linux.seccomp.syscalls": SeccompRule,
    "linux.seccomp.syscalls.args": SeccompArg,
}  # fmt: skip

SUPPORTED: dict[str, frozenset[str]] = {
    path: frozenset(get_type_hints(struct)) for path, struct in _STRUCTS.items()
}


def unsupported(value: Any, path: str = "") -> list[str]:
    """Return the paths of all keys of a configuration that gocker does not support."""
    if isinstance(value, list):
        return [found for item in value for found in unsupported(item, path)]
    keys = SUPPORTED.get(path)
    if keys is None or not isinstance(value, dict):
        return []
    found: list[str] = []
    for key, item in value.items():
        child = f"{path}.{key}" if path else key
        found += unsupported(item, child) if key in keys else [child]
    return found
