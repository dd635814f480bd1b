"""What a container may do when its service asks for nothing: docs/posture.md says why.

Pure: what depends on the host comes in as an argument. The default seccomp profile has a
module of its own and is part of this one.
"""

from __future__ import annotations

from gocker.plan.seccomp import default_seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gocker import oci


__all__ = [
    "ALL_CAPS", "CAPABILITY_NUMBERS", "DEFAULT_CAPS", "DEVICE_RULES", "DOCKER_CAPS",
    "DOCKER_MASKED_PATHS", "MASKED_PATHS", "OOM_SCORE_ADJ", "PIDS_LIMIT", "PIDS_LIMIT_JOB",
    "READONLY_PATHS", "SHM_SIZE", "SYSCTL", "SYSCTL_IPV6", "UMASK", "capabilities", "capability",
    "default_mounts", "default_rlimits", "default_seccomp", "thermal_throttle_paths",
]  # fmt: skip

# In the order of their numbers, from 0. include/uapi/linux/capability.h, through Linux 5.9.
_CAPS = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO
    SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
    SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
    WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
ALL_CAPS = tuple(f"CAP_{name}" for name in _CAPS.split())
CAPABILITY_NUMBERS = {name: number for number, name in enumerate(ALL_CAPS)}
# Docker's fourteen without MKNOD, NET_RAW, SYS_CHROOT, AUDIT_WRITE and SETFCAP.
DEFAULT_CAPS = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
)  # fmt: skip

DOCKER_CAPS = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_CHROOT",
    "CAP_MKNOD", "CAP_AUDIT_WRITE", "CAP_SETFCAP",
)  # fmt: skip

DOCKER_MASKED_PATHS = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
    "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip
# Docker's, then what else tells of the host or steers it.
MASKED_PATHS = (
    *DOCKER_MASKED_PATHS,
    "/proc/config.gz", "/proc/kallsyms", "/proc/kmsg", "/proc/kpagecgroup", "/proc/kpagecount",
    "/proc/kpageflags", "/proc/mtrr", "/proc/pagetypeinfo", "/proc/slabinfo",
    "/proc/sysrq-trigger", "/proc/vmallocinfo", "/sys/fs/bpf", "/sys/kernel/debug",
    "/sys/kernel/notes", "/sys/kernel/security", "/sys/kernel/tracing",
    "/sys/kernel/vmcoreinfo", "/sys/power",
)  # fmt: skip
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

UMASK = 0o022
OOM_SCORE_ADJ = 500
PIDS_LIMIT = 2048
PIDS_LIMIT_JOB = 512
SHM_SIZE = 64 << 20  # bytes

# For a network namespace of the container's own.
SYSCTL = {
    "net.ipv4.conf.all.rp_filter": "1",
    "net.ipv4.conf.default.rp_filter": "1",
    "net.ipv4.ip_unprivileged_port_start": "0",
    # Unprivileged ping. In a user namespace the last number must be a group that is mapped.
    "net.ipv4.ping_group_range": "0 2147483647",
}
# Only where the host has IPv6: otherwise the files are missing.
SYSCTL_IPV6 = {"net.ipv6.conf.all.accept_ra": "0", "net.ipv6.conf.default.accept_ra": "0"}


def _device(major: int, minor: int | None) -> oci.DeviceRule:
    rule: oci.DeviceRule = {"allow": True, "type": "c", "major": major, "access": "rwm"}
    return rule if minor is None else {**rule, "minor": minor}


# null, zero, full, random, urandom, tty; then console, ptmx and the terminals of devpts.
# Documentation/admin-guide/devices.txt.
DEVICE_RULES: tuple[oci.DeviceRule, ...] = (
    {"allow": False, "access": "rwm"},
    *(_device(1, minor) for minor in (3, 5, 7, 8, 9)),
    *(_device(5, minor) for minor in (0, 1, 2)),
    _device(136, None),
)


def capability(name: str) -> str:
    """Return the kernel's name of a capability: ``net_admin`` is ``CAP_NET_ADMIN``.

    Raises:
        ValueError: if there is none; the message has a suggestion.
    """
    full = name.upper()
    full = full if full.startswith("CAP_") else f"CAP_{full}"
    if full in CAPABILITY_NUMBERS:
        return full
    from difflib import get_close_matches

    close = get_close_matches(full, ALL_CAPS, n=1)
    suggestion = f", did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"unknown capability {name!r}{suggestion}")


def capabilities(
    cap_add: Iterable[str], cap_drop: Iterable[str], *, uid_is_root: bool,
    default: Iterable[str] = DEFAULT_CAPS,
) -> oci.Capabilities:  # fmt: skip
    """Return the five sets for a service's `cap_add` and `cap_drop` (names or ``ALL``).

    `default`: what a service has that names none.

    A name in both is added, unless ``ALL`` is added: then it is dropped (as in Docker). A user
    other than root gets what `cap_add` names, through the ambient set, and nothing else; the
    kernel lets only inheritable capabilities be ambient.

    Raises:
        ValueError: for an unknown name, and for ``ALL`` on both sides.
    """
    add, drop = _names(cap_add), _names(cap_drop)
    everything = set(ALL_CAPS)
    if add == drop == everything:
        raise ValueError("cap_add and cap_drop both name 'ALL'")
    if add == everything:
        add -= drop
    bounding = add | (set(default) - drop)
    held = _by_number(bounding if uid_is_root else add)
    ambient = [] if uid_is_root else held
    return {
        "bounding": _by_number(bounding),
        "effective": [*held],
        "permitted": [*held],
        "inheritable": [*ambient],
        "ambient": [*ambient],
    }


TTY = 5  # the group of terminals in every distribution


def default_mounts(shm_size: int = SHM_SIZE, *, tty_group: bool = True) -> list[oci.Mount]:
    """Return the mounts below the root file system.

    Args:
        shm_size: the size of /dev/shm, bytes.
        tty_group: whether there is a group `TTY` that terminals can belong to.
    """
    common = ["nosuid", "noexec", "nodev"]
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    pts += [f"gid={TTY}"] if tty_group else []
    shm = [*common, "mode=1777", f"size={shm_size}"]
    return [
        _mount("/proc", "proc", common),
        _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", pts),
        _mount("/dev/shm", "tmpfs", shm, source="shm"),  # noqa: S108  # a mount point, not a file
        _mount("/dev/mqueue", "mqueue", common),
        _mount("/sys", "sysfs", [*common, "ro"]),
        _mount("/sys/fs/cgroup", "cgroup", [*common, "relatime", "ro"]),
    ]


def default_rlimits(hard: Mapping[str, int]) -> list[oci.Rlimit]:
    """Return the rlimits that differ from what gocker itself runs with.

    Args:
        hard: this process's hard limits by name (``RLIMIT_NOFILE``); -1 is RLIM_INFINITY.
    """
    wanted = {"RLIMIT_CORE": 0, "RLIMIT_MEMLOCK": 8 << 20, "RLIMIT_NOFILE": 65536}
    rlimits: list[oci.Rlimit] = []
    for name, value in wanted.items():
        limit = value if hard[name] == -1 else min(value, hard[name])
        rlimits.append({"type": name, "soft": limit, "hard": limit})
    return rlimits


def thermal_throttle_paths(cpus: int) -> list[str]:
    """Return the files that count a processor's throttling: a clock shared by all containers."""
    return [f"/sys/devices/system/cpu/cpu{cpu}/thermal_throttle" for cpu in range(cpus)]


def _mount(destination: str, fstype: str, options: list[str], source: str = "") -> oci.Mount:
    return {
        "destination": destination,
        "type": fstype,
        "source": source or fstype,
        "options": [*options],
    }


def _names(names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        found |= set(ALL_CAPS) if name.upper() in {"ALL", "CAP_ALL"} else {capability(name)}
    return found


def _by_number(names: Iterable[str]) -> list[str]:
    return sorted(names, key=CAPABILITY_NUMBERS.__getitem__)
