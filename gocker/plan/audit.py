"""Checks of a plan: CIS Docker Benchmark 1.6, section 5, and Kubernetes' "restricted" standard.

Each check is a pure function of what the kernel is asked for (`gocker.plan.security`), not of the
keys that asked for it. Controls about a daemon or Swarm have no counterpart and are not listed.
"""

from __future__ import annotations

from gocker.plan import posture, security
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gocker import oci
    from gocker.plan.model import Container, Unit

    Check = Callable[[Container, Unit, "dict[str, security.Property]"], "str | None"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: `ok`, or what is wrong and the key that mends it."""

    id: str
    title: str
    service: str
    ok: bool
    detail: str = ""
    remedy: str = ""


def _caps(made: Container) -> set[str]:
    return set(made.config["process"].get("capabilities", {}).get("bounding", ()))


def _cap_limit(made: Container, _: Unit, __: object) -> str | None:
    more = _caps(made) - set(posture.DEFAULT_CAPS)
    return " ".join(sorted(more)) or None


def _privileged(made: Container, _: Unit, __: object) -> str | None:
    return "it has every capability" if _caps(made) >= set(posture.ALL_CAPS) else None


def _binds(made: Container) -> list[oci.Mount]:
    return [mount for mount in made.config.get("mounts", ()) if mount.get("type") == "bind"]


def _host_paths(_: Container, __: Unit, rows: dict[str, security.Property]) -> str | None:
    return rows["bind mounts"].because or None


def _sshd(made: Container, _: Unit, __: object) -> str | None:
    args = made.config["process"]["args"]
    return " ".join(args) if args[0].rpartition("/")[2] == "sshd" else None


def _ports(made: Container, _: Unit, __: object) -> str | None:
    network = getattr(made, "network", None)
    low = [str(port.published) for port in getattr(network, "ports", ())
           if 0 < (getattr(port, "published", 0) or 0) < 1024]  # fmt: skip
    return f"port {' '.join(low)}" if low else None


def _any_address(made: Container, _: Unit, __: object) -> str | None:
    network = getattr(made, "network", None)
    found = [str(port.published) for port in getattr(network, "ports", ())
             if getattr(port, "host_ip", "") in ("", "0.0.0.0", "::")]  # fmt: skip
    return f"port {' '.join(found)} on every address" if found else None


def _namespace(kind: str) -> Check:
    def check(_: Container, __: Unit, rows: dict[str, security.Property]) -> str | None:
        value = rows[f"{kind} namespace"].value
        return None if value == "own" else value

    return check


def _value(name: str, bad: str) -> Check:
    def check(_: Container, __: Unit, rows: dict[str, security.Property]) -> str | None:
        return bad if rows[name].value == bad else None

    return check


def _weaker(name: str) -> Check:
    def check(_: Container, __: Unit, rows: dict[str, security.Property]) -> str | None:
        return rows[name].value if rows[name].weaker else None

    return check


def _writable(made: Container, _: Unit, __: object) -> str | None:
    return None if made.config["root"].get("readonly") else "read-write"


def _devices(_: Container, __: Unit, rows: dict[str, security.Property]) -> str | None:
    return rows["devices"].value if rows["devices"].weaker else None


def _restart(_: Container, unit: Unit, __: object) -> str | None:
    policy = unit.restart
    if policy.condition in ("always", "unless-stopped") and policy.max_attempts is None:
        return policy.condition
    if policy.condition == "on-failure" and (
        policy.max_attempts is None or policy.max_attempts > 5
    ):
        return f"on-failure, {policy.max_attempts or 'without end'}"
    return None


def _shared(made: Container, _: Unit, __: object) -> str | None:
    found = [mount["destination"] for mount in _binds(made)
             if {"shared", "rshared"} & set(mount.get("options", ()))]  # fmt: skip
    return " ".join(found) or None


def _health(_: Container, unit: Unit, __: object) -> str | None:
    needs = unit.role == "support" and unit.health is None and unit.ready is None
    return "no healthcheck" if needs else None


def _latest(_: Container, unit: Unit, __: object) -> str | None:
    reference = unit.image
    if "@" in reference or reference.partition(":")[0] in ("host", "bins", "rootfs"):
        return None
    return reference if reference.rpartition(":")[2] in ("latest", reference) else None


def _socket(made: Container, _: Unit, __: object) -> str | None:
    found = [mount["source"] for mount in _binds(made)
             if mount.get("source", "").endswith((".sock", "/control"))]  # fmt: skip
    return " ".join(found) or None


def _root_user(made: Container, _: Unit, __: object) -> str | None:
    user = made.config["process"].get("user", {})
    name = str(user.get("username", user.get("uid", 0))).partition(":")[0].split(" ")[0]
    return None if name.isdecimal() and int(name) > 0 else f"user {name}"


def _kept_caps(made: Container, _: Unit, __: object) -> str | None:
    more = _caps(made) - {"CAP_NET_BIND_SERVICE"}
    return f"{len(more)} capabilities" if more else None


def _host_bind(made: Container, _: Unit, __: object) -> str | None:
    # Volumes are bind mounts below gocker's own root, and anonymous ones have no path yet.
    found = [mount["source"] for mount in _binds(made)
             if mount["source"].startswith("/") and "/volumes/" not in mount["source"]]  # fmt: skip
    return " ".join(found) or None


def _sysctls(_: Container, __: Unit, rows: dict[str, security.Property]) -> str | None:
    safe = (
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
    )  # fmt: skip
    value = rows["sysctls"].value
    found = [word for word in value.split() if "=" in word and word.partition("=")[0] not in safe]
    return " ".join(found) or None


# id, title, check, the key that mends it.
CHECKS: tuple[tuple[str, str, Check, str], ...] = (
    ("CIS 5.1", "AppArmor or a second wall (Landlock) is on", _weaker("landlock"),
     "x-gocker.landlock"),
    ("CIS 5.3", "no capabilities beyond the default", _cap_limit, "cap_add"),
    ("CIS 5.4", "not privileged", _privileged, "privileged, cap_add: [ALL]"),
    ("CIS 5.5", "no sensitive host directories are mounted", _host_paths, "volumes"),
    ("CIS 5.6", "no sshd inside", _sshd, "command"),
    ("CIS 5.7", "no privileged ports are published", _ports, "ports"),
    ("CIS 5.9", "the host's network is not shared", _namespace("network"), "network_mode"),
    ("CIS 5.10", "memory is limited", _value("memory", "unlimited"), "mem_limit"),
    ("CIS 5.11", "CPU is limited", _value("cpu", "unlimited"), "cpus"),
    ("CIS 5.12", "the root file system is read-only", _writable, "read_only: true"),
    ("CIS 5.13", "ports are bound to an address", _any_address, "ports: 127.0.0.1:..."),
    ("CIS 5.14", "restarts end after five failures", _restart, "restart: on-failure:5"),
    ("CIS 5.15", "the host's processes are not shared", _namespace("pid"), "pid"),
    ("CIS 5.16", "the host's IPC is not shared", _namespace("ipc"), "ipc"),
    ("CIS 5.17", "no host devices", _devices, "devices"),
    ("CIS 5.18", "core files are off, as by default", _weaker("core files"), "ulimits"),
    ("CIS 5.19", "mount propagation is not shared", _shared, "volumes: bind.propagation"),
    ("CIS 5.20", "the host's UTS namespace is not shared", _namespace("uts"), "uts"),
    ("CIS 5.21", "seccomp is on", _weaker("seccomp"), "security_opt"),
    ("CIS 5.24", "its own cgroup namespace", _namespace("cgroup"), "cgroup"),
    ("CIS 5.25", "no new privileges", _weaker("no_new_privileges"), "security_opt"),
    ("CIS 5.26", "health is checked", _health, "healthcheck"),
    ("CIS 5.27", "images are named by tag or digest", _latest, "image"),
    ("CIS 5.28", "pids are limited", _value("pids", "unlimited"), "pids_limit"),
    ("CIS 5.31", "no engine's socket is mounted", _socket, "volumes"),
    ("K8S hostNamespaces", "no namespaces of the host's", _namespace("network"), "network_mode"),
    ("K8S hostPathVolumes", "no host paths", _host_bind, "volumes"),
    ("K8S allowPrivilegeEscalation", "no new privileges", _weaker("no_new_privileges"),
     "security_opt"),
    ("K8S capabilities", "ALL dropped, NET_BIND_SERVICE at most", _kept_caps, "cap_drop: [ALL]"),
    ("K8S runAsNonRoot", "a user other than root", _root_user, "user: '1000:1000'"),
    ("K8S seccompProfile", "RuntimeDefault", _weaker("seccomp"), "security_opt"),
    ("K8S sysctls", "only safe sysctls", _sysctls, "sysctls"),
    ("K8S procMount", "the default masks", _weaker("masked paths"), "x-gocker.profile"),
)  # fmt: skip


def audit(service: str, made: Container, unit: Unit) -> list[Finding]:
    """Return the findings of all checks for one service."""
    rows = {item.name: item for item in security.properties(made)}
    found = []
    for number, title, check, remedy in CHECKS:
        wrong = check(made, unit, rows)
        found.append(Finding(number, title, service, wrong is None, wrong or "",
                             remedy if wrong is not None else ""))  # fmt: skip
    return found
