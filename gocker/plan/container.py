"""One service -> the OCI configuration of its container. Source: runtime-spec config.md."""

from __future__ import annotations

import re
from functools import lru_cache

from gocker.errors import PlanError
from gocker.image.resolve import HIDDEN_MODES
from gocker.plan import files, posture, profiles, userns
from gocker.plan.model import Container, Landlock
from gocker.plan.resources import device_number, optional, resources
from gocker.spec.model.roles import network_mode
from gocker.values import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from gocker import oci
    from gocker.image.resolve import RootFs
    from gocker.network.model import Attachment, NetworkPlan
    from gocker.plan.profiles import Profile
    from gocker.plan.sharing import Sharing
    from gocker.spec.model.project import Project
    from gocker.spec.model.service import Container as Service
    from gocker.spec.model.service import Hook

OCI_VERSION = "1.0.2"  # the newest that Debian 12's crun takes; nothing newer is used
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_IMAGE = "host:/"
_HOST_NAME = 63  # characters; sethostname(2) takes one more, DNS labels do not
# Kernel parameters that belong to a namespace of the container's own (security.md D7).
_SYSCTL_OWN = re.compile(
    r"net\.[\w.\-/]+|kernel\.(msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced)"
    r"|fs\.mqueue\.\w+"
)


ALL_GROUPS = 1 << 32


@dataclass(frozen=True, slots=True)
class Host:
    """What the plan has to know of the host; an argument, so that planning stays pure."""

    rootfs: Callable[[str], RootFs]
    volumes_root: str
    environ: Mapping[str, str] = field(default_factory=dict)
    hard_limits: Mapping[str, int] = field(default_factory=dict)
    capabilities: frozenset[str] = frozenset(posture.ALL_CAPS)
    ipv6: bool = True
    cpus: int = 1
    memory: int = 0  # bytes
    resolv_conf: str = ""
    nodename: str = ""
    allow_privileged: bool = False
    # Groups from 0 up that gocker itself can have: all, or those of an ordinary user's namespace.
    groups: int = ALL_GROUPS


def container(
    service: Service, instance: str, project: Project, host: Host,
    variables: Mapping[str, str] | None = None, *, job: bool, reference: str = "",
    attachment: Attachment | None = None, network: NetworkPlan | None = None,
    units: Mapping[str, Sequence[str]] | None = None, directory: str = "",
) -> Container:  # fmt: skip
    """Return how to make the container of `instance`; `variables` are its own.

    `attachment`: to which of the `network`'s networks.

    Raises:
        PlanError: what is wrong with the service and cannot be seen in the spec alone.
    """
    profile = profiles.profile_of(service, project)
    root = host.rootfs(reference or image(service))
    profiles.check(service, profile, service.user or root.user)
    own_user = userns.is_auto(
        service, project, default=profile.userns and host.groups == ALL_GROUPS
    )
    if own_user and host.groups != ALL_GROUPS:
        raise PlanError(
            f"{instance}: userns_mode: auto takes ids that nobody else has, and only root can",
            hint="leave it out: an ordinary user's containers are in a user namespace anyway",
        )
    whose = _sharing(service, project, units or {}, user=own_user)
    hostname = service.hostname or instance[:_HOST_NAME].rstrip("-.")
    if service.uts == "host":
        hostname = host.nodename
    ids = userns.mappings(userns.wanted_range(project.name)) if own_user else None
    mounts, prepare = files.mounts(
        service, project, host.volumes_root, root, idmap=own_user,
        tty_group=host.groups > posture.TTY,
    )  # fmt: skip
    if whose is not None:
        mounts = whose.mounts(mounts, user=own_user)
    config: oci.Config = {
        "ociVersion": OCI_VERSION,
        "root": {"path": "rootfs", "readonly": service.read_only or profile.read_only},
        "process": _process(service, root, hostname, host, variables or {}, profile),
        "mounts": mounts,
        "linux": _linux(
            service, host, profile, ids, whose, job=job,
            network=_network_of(service, project, attachment),
        ),
    }  # fmt: skip
    if service.uts != "host":
        config["hostname"] = hostname
    if service.privileged:
        from gocker.plan import privileged

        privileged.check(host)
        privileged.relax(config["linux"])
        config["mounts"] = privileged.mounts(mounts)
    if service.security_opt:
        from gocker.plan import securityopt

        bounding = config["process"].get("capabilities", {}).get("bounding", ())
        securityopt.apply(config, service.security_opt, directory, bounding)
    if service.domainname:
        config["domainname"] = service.domainname
    annotations = {**service.labels, **service.annotations}
    if annotations:
        config["annotations"] = annotations
    return Container(
        config=config,
        lower=tuple(root.lower),
        hidden=tuple((path, HIDDEN_MODES.get(path, 0o755)) for path in sorted(root.hidden)),
        files=files.generated(service, hostname, host.resolv_conf, attachment,
                              _servers(attachment, network)),
        grants=files.grants(service, project, host.environ),
        init=bool(service.init),
        attach=service.attach,
        prepare=tuple(prepare),
        profile=profile.name,
        landlock=_landlock(service, config, profile),
        stdin_open=service.stdin_open,
        optional=optional(service),
        network=attachment,
        joins=whose.joins(user=own_user) if whose is not None else (),
        cgroup_parent=service.cgroup_parent,
        root=tuple(root.root),
        post_start=_hooks(config["process"], getattr(service, "post_start", ())),
        pre_stop=_hooks(config["process"], getattr(service, "pre_stop", ())),
    )  # fmt: skip


def _hooks(own: oci.Process, hooks: Sequence[Hook]) -> tuple[oci.Process, ...]:
    if not hooks:
        return ()
    from gocker.plan import further

    return further.hooks(own, hooks)


def _sharing(
    service: Service, project: Project, units: Mapping[str, Sequence[str]], *, user: bool
) -> Sharing | None:
    """Return whose namespaces the container is in, if not all are its own."""
    if not (service.pid or service.ipc or service.uts or service.cgroup):
        return None
    from gocker.plan.sharing import sharing

    return sharing(service, project, units, user=user)


def _network_of(service: Service, project: Project, attachment: Attachment | None) -> str:
    """Return whose network namespace a container has: ``own``, ``shared`` or ``host``."""
    if attachment is not None:
        return "shared" if attachment.share else "own"
    return "host" if network_mode(service, project) == "host" else "own"


def _servers(attachment: Attachment | None, network: NetworkPlan | None) -> list[str]:
    if attachment is None or network is None:
        return []
    from gocker.network.hosts import nameservers

    return nameservers(attachment, {it.key: it for it in network.networks})


def built_name(project: Project, service: str) -> str:
    """Return the name of an image that is built and given no other one, as compose has it."""
    return f"{project.name}-{service}"


def image(service: Service, built: str = "") -> str:
    """Return the reference of the service's root file system.

    `built`: the name of an image that is built and given no other one, ``PROJECT-SERVICE``.
    """
    if service.x_gocker is not None and service.x_gocker.rootfs:
        return f"rootfs:{service.x_gocker.rootfs}"
    if service.build is not None and built:
        return service.image or built
    return service.image or DEFAULT_IMAGE


def _process(
    service: Service, root: RootFs, hostname: str, host: Host, variables: Mapping[str, str],
    profile: Profile,
) -> oci.Process:  # fmt: skip
    user = _user(service, root.user)
    env = _environment(service, root, hostname, variables)
    if service.tty and not any(item.startswith("TERM=") for item in env):
        env.append("TERM=xterm")
    is_root = user.get("uid") == 0 or user.get("username", "").split(":")[0] == "root"
    process: oci.Process = {
        "args": _args(service, root),
        "cwd": service.working_dir or root.working_dir,
        "user": user,
        "env": env,
        "rlimits": _rlimits(service, host),
        "capabilities": capabilities(service, host, profile, uid_is_root=is_root),
        "noNewPrivileges": no_new_privileges(service, profile),
        "oomScoreAdj": profile.oom_score_adj if service.oom_score_adj is None
        else service.oom_score_adj,
    }  # fmt: skip
    if service.tty:
        process["terminal"] = True
    return process


def _args(service: Service, root: RootFs) -> list[str]:
    entrypoint, command = service.entrypoint, service.command
    if entrypoint is None:
        entrypoint = root.entrypoint
        # An entrypoint of the service clears the image's command.
        command = root.command if command is None else command
    args = [*entrypoint, *(command or ())]
    if not args:
        raise PlanError(
            "no command: neither the spec nor the image names one",
            hint="add `command:`",
        )
    return args


def _user(service: Service, default: str) -> oci.User:
    """Return numbers where the spec has numbers; names are looked up in the container."""
    wanted = service.user or default
    user, _, group = (wanted or "0").partition(":")
    numeric = user.isdecimal() and (group.isdecimal() or not group)
    if not service.group_add and (not wanted or (numeric and group)):
        return {"uid": int(user), "gid": int(group or 0), "umask": posture.UMASK}
    names = [wanted or "0", *service.group_add]
    for each in names:
        if not each or any(character.isspace() for character in each):
            raise PlanError(f"user or group {each!r} is empty or has white space")
    name = " ".join(names)
    return {"username": name, "umask": posture.UMASK}


def _environment(
    service: Service, root: RootFs, hostname: str, variables: Mapping[str, str]
) -> list[str]:
    env = {"PATH": PATH, "HOSTNAME": hostname, **root.env, **variables}
    for name, value in service.environment.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = value
    return [f"{name}={value}" for name, value in env.items()]


def _rlimits(service: Service, host: Host) -> list[oci.Rlimit]:
    found = {item["type"]: item for item in posture.default_rlimits(host.hard_limits)}
    for name, ulimit in service.ulimits.items():
        kind = f"RLIMIT_{name.upper()}"
        if kind not in host.hard_limits:
            known = ", ".join(sorted(limit[7:].lower() for limit in host.hard_limits))
            raise PlanError(f"unknown ulimit {name!r}", hint=f"one of {known}")
        found[kind] = {
            "type": kind,
            "soft": _unlimited(ulimit.soft),
            "hard": _unlimited(ulimit.hard),
        }
    return list(found.values())


def _unlimited(value: int) -> int:
    return (1 << 64) - 1 if value == -1 else value  # RLIM_INFINITY, as OCI writes it


def capabilities(
    service: Service, host: Host, profile: Profile, *, uid_is_root: bool
) -> oci.Capabilities:
    """Return the five sets, without what this host does not have either."""
    if service.privileged and not service.cap_drop:
        from gocker.plan import privileged

        return privileged.capabilities(host)
    try:
        sets = posture.capabilities(
            service.cap_add, service.cap_drop, uid_is_root=uid_is_root, default=profile.caps
        )
    except ValueError as error:
        raise PlanError(str(error)) from error
    missing = {
        posture.capability(name)
        for name in service.cap_add
        if name.upper() not in ("ALL", "CAP_ALL")
    }
    missing -= host.capabilities
    if missing:
        raise PlanError(
            f"cap_add: gocker itself does not have {', '.join(sorted(missing))}",
            hint="start gocker with them, or remove them",
        )
    for caps in (sets["bounding"], sets["effective"], sets["permitted"], sets["inheritable"],
                 sets["ambient"]):  # fmt: skip
        caps[:] = [cap for cap in caps if cap in host.capabilities]
    return sets


def no_new_privileges(service: Service, profile: Profile) -> bool:
    """Return whether setuid programs are without effect."""
    options = [option.replace("=", ":") for option in service.security_opt]
    if "no-new-privileges:false" in options:
        return False
    asked = "no-new-privileges" in options or "no-new-privileges:true" in options
    return asked or (profile.no_new_privileges and not service.privileged)


def seccomp_unconfined(service: Service) -> bool:
    """Return whether the service asks for no seccomp filter."""
    return any(option.replace("=", ":") == "seccomp:unconfined" for option in service.security_opt)


_PING = "net.ipv4.ping_group_range"

# Equal parts of configurations are the same object: the executor sends each of them once.
_READONLY_PATHS = list(posture.READONLY_PATHS)
_seccomp = lru_cache(posture.default_seccomp)


@lru_cache
def _masked_paths(masked: tuple[str, ...], cpus: int) -> list[str]:
    return [*masked, *posture.thermal_throttle_paths(cpus)]


@lru_cache
def _default_sysctl(ipv6: bool, groups: int) -> dict[str, str]:
    found = posture.SYSCTL | (posture.SYSCTL_IPV6 if ipv6 else {})
    # Its last number must be a group that is mapped.
    return found | ({_PING: f"0 {groups - 1}"} if groups < ALL_GROUPS else {})


def _linux(
    service: Service, host: Host, profile: Profile, ids: list[oci.IDMapping] | None,
    whose: Sharing | None, *, job: bool, network: str,
) -> oci.Linux:  # fmt: skip
    kinds = ("mount", "uts", "ipc", "pid", "cgroup")
    namespaces: list[oci.Namespace] = (
        [{"type": kind} for kind in kinds] if whose is None else whose.namespaces()
    )
    if network != "host":
        namespaces.append({"type": "network"})
    linux: oci.Linux = {
        "namespaces": namespaces,
        "resources": resources(service, profile.pids_job if job else profile.pids),
        "rootfsPropagation": "private",
        "maskedPaths": _masked_paths(profile.masked, host.cpus),
        "readonlyPaths": _READONLY_PATHS,
    }
    if ids is not None:
        namespaces.append({"type": "user"} if whose is None else whose.user())
        linux["uidMappings"] = linux["gidMappings"] = ids
    sysctl = _sysctl(service, host, network, own_user=ids is not None)
    if sysctl:
        linux["sysctl"] = sysctl
    if not seccomp_unconfined(service):
        sets = capabilities(service, host, profile, uid_is_root=True)
        linux["seccomp"] = _seccomp(
            frozenset(sets.get("bounding", ())), None, profile.seccomp_extra
        )
    if service.devices:
        linux["devices"] = [_device(device) for device in service.devices]
        linux["resources"]["devices"] += [
            _device_rule(device, node)
            for device, node in zip(service.devices, linux["devices"], strict=True)
        ]
    linux["resources"]["devices"] += [_rule(text.split()) for text in service.device_cgroup_rules]
    return linux


def _rule(words: list[str]) -> oci.DeviceRule:
    """Return a rule of ``device_cgroup_rules``: type, major:minor, access."""
    kind, numbers, access = words
    major, _, minor = numbers.partition(":")
    rule: oci.DeviceRule = {"allow": True, "type": kind, "access": access}
    if major != "*":
        rule["major"] = int(major)
    if minor != "*":
        rule["minor"] = int(minor)
    return rule


def _landlock(service: Service, config: oci.Config, profile: Profile) -> Landlock | None:
    """Return the limits by landlock(7); None where they would stand in a service's way.

    A container may have SYS_ADMIN to mount, which no ruleset lets it. Scopes are for what is
    shared: a command of `exec` is a domain of its own, to which they would apply, too.
    """
    wanted = service.x_gocker.landlock if service.x_gocker is not None else None
    bounding = config["process"].get("capabilities", {}).get("bounding", ())
    if "CAP_SYS_ADMIN" in bounding or (wanted is not None and wanted.off):
        return None
    if wanted is None and not profile.landlock:
        return None
    own = {entry["type"] for entry in config["linux"]["namespaces"] if "path" not in entry}
    scopes = {"network": "abstract", "pid": "signal"}
    return Landlock(
        scopes=tuple(scope for kind, scope in scopes.items() if kind not in own),
        tcp_bind=wanted.tcp_bind if wanted is not None else None,
        tcp_connect=wanted.tcp_connect if wanted is not None else None,
    )


def _sysctl(service: Service, host: Host, network: str, *, own_user: bool) -> dict[str, str]:
    found = (
        _default_sysctl(host.ipv6, userns.SIZE if own_user else host.groups)
        if network == "own"
        else {}
    )
    if service.sysctls:
        found = dict(found)
    for name, value in service.sysctls.items():
        dotted = name.replace("/", ".") if "." not in name else name
        if not _SYSCTL_OWN.fullmatch(dotted) or ".." in dotted:
            raise PlanError(
                f"sysctl {name!r} does not belong to a namespace of the container",
                hint="net.*, kernel.msg*, kernel.sem, kernel.shm* and fs.mqueue.* can be set",
            )
        if dotted.startswith("net.") and network != "own":
            whose = "the host" if network == "host" else "another container"
            raise PlanError(f"sysctl {name!r} would change {whose}: its network is shared")
        found[dotted] = value
    return found


def _device(device: Any) -> oci.Device:
    import os
    import stat

    number = device_number(device.source)
    info = os.stat(device.source)
    return {
        "type": "b" if stat.S_ISBLK(info.st_mode) else "c",
        "path": device.target or device.source,
        **number,
        "fileMode": stat.S_IMODE(info.st_mode),
        "uid": info.st_uid,
        "gid": info.st_gid,
    }


def _device_rule(device: Any, node: oci.Device) -> oci.DeviceRule:
    return {
        "allow": True, "type": node["type"], "major": node["major"], "minor": node["minor"],
        "access": device.permissions,
    }  # fmt: skip
