"""What confines a container, as a table of its own words, and where it is weaker than the default.

Read from the OCI configuration, which is what the kernel is asked for, and not from the keys of
the spec: what no key's author thought of is seen, too.
"""

from __future__ import annotations

from functools import lru_cache

from gocker.plan import posture, profiles
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from gocker import oci
    from gocker.plan.model import Container

# Host directories that hand over the host, or what steers it (CIS Docker 5.5, 5.31).
SENSITIVE = (
    "/", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/run", "/sys", "/usr",
    "/var/run", "/var/lib", "/var/run/docker.sock", "/run/docker.sock",
    "/run/containerd/containerd.sock", "/run/podman/podman.sock",
)  # fmt: skip
NAMESPACES = ("mount", "pid", "network", "ipc", "uts", "cgroup")


@dataclass(frozen=True, slots=True)
class Property:
    """One property of a container. `because`: the key of the spec that makes it weaker."""

    name: str
    value: str
    default: str = ""
    weaker: bool = False
    because: str = ""


def weakenings(made: Container) -> list[Property]:
    """Return the properties in which a container is confined less than by default."""
    return [item for item in properties(made) if item.weaker]


def properties(made: Container) -> list[Property]:
    """Return every property of a container's confinement."""
    config = made.config
    found = [
        Property("profile", made.profile, "default"),
        _user(config["process"]),
        *_capabilities(config["process"], made.profile),
        _no_new_privileges(config["process"]),
        _seccomp(config["linux"], _bounding(config["process"]), made.profile),
        _landlock(made),
        *_namespaces(config["linux"]),
        _root(config),
        _paths("masked paths", config["linux"].get("maskedPaths", ()), posture.MASKED_PATHS),
        _paths("read-only paths", config["linux"].get("readonlyPaths", ()), posture.READONLY_PATHS),
        _binds(config.get("mounts", [])),
        _devices(config["linux"]),
        _sysctls(config["linux"]),
        *_limits(config),
    ]
    return [_explained(item, made.profile) for item in found]


def _explained(item: Property, profile: str) -> Property:
    """Name the reason of what is weaker: the profile, or the key that only its absence leaves."""
    if not item.weaker or item.because:
        return item
    because = f"x-gocker.profile: {profile}" if profile == "compat" else _KEYS[item.name]
    return Property(item.name, item.value, item.default, weaker=True, because=because)


# What makes a property weaker where the profile does not.
_KEYS = {
    "capabilities": "cap_add",
    "no_new_privileges": "security_opt: no-new-privileges:false",
    "seccomp": "security_opt: seccomp",
    "landlock": "x-gocker.landlock: off",
    "masked paths": "security_opt: unmask",
    "read-only paths": "security_opt: unmask",
    "pids": "pids_limit: -1",
}


def _short(names: Any) -> str:
    return " ".join(name.removeprefix("CAP_") for name in names) or "none"


def _user(process: oci.Process) -> Property:
    user = process.get("user", {})
    if "username" in user:
        return Property("user", user["username"].replace(" ", " +"), "0:0")
    return Property("user", f"{user.get('uid', 0)}:{user.get('gid', 0)}", "0:0")


def _capabilities(process: oci.Process, profile: str) -> Iterator[Property]:
    sets = process.get("capabilities", {})
    bounding = sets.get("bounding", [])
    more = [name for name in bounding if name not in posture.DEFAULT_CAPS]
    own = [name for name in more if name not in profiles.PROFILES[profile].caps]
    yield Property(
        "capabilities", _short(sets.get("permitted", [])), _short(posture.DEFAULT_CAPS),
        weaker=bool(more), because=f"cap_add: {_short(own)}" if own else "",
    )  # fmt: skip
    yield Property("bounding set", _short(bounding), _short(posture.DEFAULT_CAPS))
    yield Property("ambient set", _short(sets.get("ambient", [])), "none")


def _bounding(process: oci.Process) -> list[str]:
    return process.get("capabilities", {}).get("bounding", [])


def _no_new_privileges(process: oci.Process) -> Property:
    value = process.get("noNewPrivileges", False)
    return Property("no_new_privileges", str(value).lower(), "true", weaker=not value,
                    because="")  # fmt: skip


def _seccomp(linux: oci.Linux, bounding: list[str], profile_name: str) -> Property:
    profile = linux.get("seccomp")
    default = "allow-list"
    if profile is None:
        return Property("seccomp", "unconfined", default, weaker=True,
                        because="security_opt: seccomp=unconfined")  # fmt: skip
    allowed = _allowed(profile)
    more = allowed - _default_allowed(frozenset(bounding))
    open_end = profile["defaultAction"] in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG")
    own = open_end or more - set(profiles.PROFILES[profile_name].seccomp_extra)
    value = f"allow-list of {len(allowed)} calls, else {profile['defaultAction']}"
    because = f"security_opt: seccomp, which allows {len(more)} calls more" if own else ""
    return Property("seccomp", value, default, weaker=bool(more) or open_end, because=because)


def _allowed(profile: oci.Seccomp) -> set[str]:
    """Return the calls that are allowed whatever their arguments are."""
    return {
        name for rule in profile.get("syscalls", [])
        if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")
        for name in rule["names"]
    }  # fmt: skip


@lru_cache
def _default_allowed(caps: frozenset[str]) -> set[str]:
    return _allowed(posture.default_seccomp(caps))


def _landlock(made: Container) -> Property:
    if made.landlock is None:
        bounding = made.config["process"].get("capabilities", {}).get("bounding", [])
        because = "cap_add: SYS_ADMIN" if "CAP_SYS_ADMIN" in bounding else ""
        if not because and profiles.PROFILES[made.profile].landlock:
            because = "x-gocker.landlock: off"
        return Property("landlock", "off", "mounts, devices", weaker=True, because=because)
    parts = ["mounts", "devices", *(f"{scope}s of others" for scope in made.landlock.scopes)]
    for name, ports in (("bind", made.landlock.tcp_bind), ("connect", made.landlock.tcp_connect)):
        if ports is not None:
            parts.append(f"tcp {name} {' '.join(map(str, ports)) or 'none'}")
    return Property("landlock", ", ".join(parts), "mounts, devices")


def _namespaces(linux: oci.Linux) -> Iterator[Property]:
    found = {entry["type"]: entry.get("path", "") for entry in linux.get("namespaces", ())}
    keys = {"network": "network_mode"}
    for kind in NAMESPACES:
        own = kind in found and not found[kind]
        value = "own" if own else "host" if kind not in found else "shared"
        key = keys.get(kind, kind)
        yield Property(f"{kind} namespace", value, "own", weaker=not own,
                       because="" if own else f"{key}: {value}")  # fmt: skip
    yield Property("user namespace", "own" if "user" in found else "host", "host")


def _root(config: oci.Config) -> Property:
    readonly = config["root"].get("readonly", False)
    suid = "" if config["process"].get("noNewPrivileges") else ", suid"
    return Property("root", ("read-only" if readonly else "read-write") + suid, "read-write")


def _paths(name: str, paths: Any, default: tuple[str, ...]) -> Property:
    missing = [path for path in default if path not in paths]
    return Property(name, f"{len(paths)} paths" + (f", without {' '.join(missing)}" if missing
                    else ""), f"{len(default)} paths and more", weaker=bool(missing))  # fmt: skip


def _binds(mounts: list[oci.Mount]) -> Property:
    """Bind mounts of host paths; only those of SENSITIVE directories count as weaker."""
    shown, bad = [], []
    for mount in mounts:
        if mount.get("type") != "bind":
            continue
        source = mount.get("source", "")
        mode = "ro" if "ro" in mount.get("options", ()) else "rw"
        shown.append(f"{source} ({mode})")
        if (source.rstrip("/") or "/") in SENSITIVE:
            bad.append(source)
    return Property("bind mounts", ", ".join(shown) or "none", "none", weaker=bool(bad),
                    because=f"volumes: {' '.join(bad)}" if bad else "")  # fmt: skip


def _devices(linux: oci.Linux) -> Property:
    paths = [device["path"] for device in linux.get("devices", ())]
    return Property("devices", " ".join(paths) or "the default six", "the default six",
                    weaker=bool(paths), because=f"devices: {' '.join(paths)}")  # fmt: skip


def _sysctls(linux: oci.Linux) -> Property:
    own = {**posture.SYSCTL, **posture.SYSCTL_IPV6}
    more = [
        f"{name}={value}" for name, value in linux.get("sysctl", {}).items()
        if own.get(name) != value
    ]  # fmt: skip
    return Property("sysctls", " ".join(more) or "default", "default")


def _limits(config: oci.Config) -> Iterator[Property]:
    resources = config["linux"].get("resources", {})
    memory = resources.get("memory", {}).get("limit", 0)
    yield Property("memory", f"{memory} bytes" if memory > 0 else "unlimited", "unlimited")
    cpu = resources.get("cpu", {})
    quota = cpu.get("quota", -1)
    cpus = f"{quota / cpu.get('period', 100_000):g} CPUs" if quota > 0 else "unlimited"
    yield Property("cpu", cpus, "unlimited")
    pids = resources["pids"]["limit"] if "pids" in resources else 0
    yield Property("pids", str(pids) if pids > 0 else "unlimited", str(posture.PIDS_LIMIT),
                   weaker=pids <= 0, because="")  # fmt: skip
    score = config["process"].get("oomScoreAdj", 0)
    yield Property("oom_score_adj", str(score), str(posture.OOM_SCORE_ADJ), weaker=score < 0,
                   because=f"oom_score_adj: {score}")  # fmt: skip
    rlimits = {item["type"]: item["hard"] for item in config["process"].get("rlimits", ())}
    core = rlimits.get("RLIMIT_CORE")
    yield Property("core files", "none" if core == 0 else str(core), "none", weaker=core != 0,
                   because="ulimits: core")  # fmt: skip


def relaxed(made: Container) -> list[dict[str, str]]:
    """Return the weakenings as the event `security.relaxed` has them."""
    return [
        {"what": item.name, "value": item.value, "default": item.default, "because": item.because}
        for item in weakenings(made)
    ]
