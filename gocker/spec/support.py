"""What gocker does with every key of the Compose Specification and of its own extensions.

The only table of its kind: `gocker.spec.model.walk` refuses by it, docs/spec.md is made from
it, and a test holds it against the specification's own schema. A key that gets built moves
from `LATER` to `HONOURED` and gets a field in its model.

Paths: ``*`` is any name, ``[]`` any item. A row covers everything below it that has no row.
"""

from typing import Any, NamedTuple

# Prefix -> keys below it that have their full meaning.
HONOURED = {
    "": "version name include services networks volumes secrets configs jobs x-gocker",
    "include[]": "path env_file project_directory",
    "services": "*",
    "services.*": """
        annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command
        configs container_name cpu_rt_period cpu_rt_runtime device_cgroup_rules ipc mem_swappiness
        oom_kill_disable pid privileged uts volumes_from
        cpu_period cpu_quota cpu_shares cpus cpuset depends_on deploy devices dns dns_opt
        dns_search domainname entrypoint env_file environment expose extends extra_hosts
        group_add healthcheck hostname image init label_file labels links mac_address mem_limit
        mem_reservation memswap_limit network_mode networks oom_score_adj pids_limit platform
        ports post_start pre_stop profiles pull_policy read_only restart scale secrets security_opt
        shm_size stdin_open stop_grace_period stop_signal sysctls tmpfs tty ulimits user userns_mode
        volumes working_dir x-gocker""",
    "services.*.blkio_config": """
        weight weight_device device_read_bps device_write_bps device_read_iops
        device_write_iops""",
    "services.*.blkio_config.weight_device[]": "path weight",
    "services.*.blkio_config.device_read_bps[]": "path rate",
    "services.*.blkio_config.device_write_bps[]": "path rate",
    "services.*.blkio_config.device_read_iops[]": "path rate",
    "services.*.blkio_config.device_write_iops[]": "path rate",
    "services.*.build": """
        additional_contexts args context dockerfile dockerfile_inline labels network no_cache
        pull tags target""",
    "services.*.configs[]": "source target uid gid mode",
    "services.*.secrets[]": "source target uid gid mode",
    "services.*.depends_on": "*",
    "services.*.depends_on.*": "condition required restart",
    "services.*.deploy": "replicas resources restart_policy",
    "services.*.deploy.resources": "limits reservations",
    "services.*.deploy.resources.limits": "cpus memory pids",
    "services.*.deploy.resources.reservations": "cpus memory",
    "services.*.deploy.restart_policy": "condition delay max_attempts window",
    "services.*.devices[]": "source target permissions",
    "services.*.env_file[]": "path format required",
    "services.*.extends": "service file",
    "services.*.healthcheck": """
        disable interval retries test timeout start_period start_interval""",
    "services.*.networks": "*",
    "services.*.networks.*": """
        aliases driver_opts gw_priority interface_name ipv4_address ipv6_address link_local_ips
        mac_address priority""",
    "services.*.ports[]": "name mode host_ip target published protocol app_protocol",
    "services.*.post_start[]": "command user privileged working_dir environment",
    "services.*.pre_stop[]": "command user privileged working_dir environment",
    "services.*.ulimits": "*",
    "services.*.ulimits.*": "soft hard",
    "services.*.volumes[]": "type source target read_only bind volume tmpfs",
    "services.*.volumes[].bind": "propagation create_host_path recursive",
    "services.*.volumes[].volume": "labels nocopy subpath",
    "services.*.volumes[].tmpfs": "size mode",
    "volumes": "*",
    "volumes.*": "name external labels driver_opts",
    "volumes.*.external": "name",
    "networks": "*",
    "networks.*": """
        name labels driver driver_opts internal external enable_ipv4 enable_ipv6 ipam""",
    "networks.*.external": "name",
    "networks.*.ipam": "config",
    "networks.*.ipam.config[]": "subnet ip_range gateway aux_addresses",
    "secrets": "*",
    "secrets.*": "file environment labels name",
    "configs": "*",
    "configs.*": "file content environment labels name",
    "jobs": "*",
    "jobs.*": "triggers",
    "jobs.*.triggers": "manual",
    "x-gocker": "timeout parallel fail_fast keep admission mask profile userns",
    "services.*.x-gocker": """
        role timeout retry allow_failure success_codes when matrix artifacts reports ready
        limits rootfs mask profile landlock userns on_supervisor_death""",
    "services.*.x-gocker.retry": "max when delay backoff",
    "services.*.x-gocker.allow_failure": "any exit_codes",
    "services.*.x-gocker.matrix": "include exclude max_parallel fail_fast *",
    "services.*.x-gocker.artifacts": "paths when max_size",
    "services.*.x-gocker.reports": "junit",
    "services.*.x-gocker.ready": "log port",
    "services.*.x-gocker.limits": "enforce fail_on",
    "services.*.x-gocker.landlock": "off tcp_bind tcp_connect",
}

_WINDOWS = "Windows only"
_GPU = "it needs a vendor's hook; name the device nodes in devices"
_SWARM = "swarm only; gocker runs on one host"
_MODELS = "it needs Docker Model Runner"
JOB_REASON = "a job runs once; this key is for services"

# Path -> why it cannot be honoured.
REFUSED = {
    "models": _MODELS,
    "services.*.models": _MODELS,
    "services.*.build.isolation": _WINDOWS,
    "services.*.build.privileged": "RUN gets what packages need to be installed, and no more",
    "services.*.gpus": _GPU,
    "services.*.deploy.resources.reservations.devices": _GPU,
    "services.*.storage_opt": "a root file system has no quota; limit a tmpfs or a volume instead",
    "services.*.cpu_count": "Windows only; use cpus or cpuset",
    "services.*.cpu_percent": "Windows only; use cpus or cpuset",
    "services.*.credential_spec": _WINDOWS,
    "services.*.external_links": "there are no containers outside the project",
    "services.*.isolation": _WINDOWS,
    "services.*.provider": "a spec must not run programs of the host",
    "services.*.runtime": "gocker is the runtime",
    "services.*.use_api_socket": "there is no daemon and no socket",
    "services.*.deploy.mode": _SWARM,
    "services.*.deploy.resources.reservations.generic_resources": _SWARM,
    "networks.*.ipam.driver": "there are no IPAM plugins",
    "networks.*.ipam.options": "there are no IPAM plugins",
    "volumes.*.driver": "there are no volume plugins",
    "secrets.*.external": "there is no secret store; use file or environment",
    "secrets.*.driver": _SWARM,
    "secrets.*.driver_opts": _SWARM,
    "secrets.*.template_driver": _SWARM,
    "configs.*.external": "there is no config store; use file, content or environment",
    "configs.*.template_driver": _SWARM,
    "jobs.*.triggers.schedule": "gocker has no daemon; call it from cron",
    **{f"jobs.*.{key}": JOB_REASON for key in ("restart", "scale", "deploy", "container_name")},
    **{f"jobs.*.{key}": JOB_REASON for key in ("pre_start", "post_start", "pre_stop")},
}

_ORCHESTRATOR = "orchestrators only; gocker runs on one host"

# Path -> why it has no effect. Accepted, said once, and an error with --strict.
WARNED = {
    "services.*.develop": "watch mode is for development; a batch runs once",
    "services.*.deploy.labels": "service labels of orchestrators; use labels for the container",
    "services.*.deploy.update_config": _ORCHESTRATOR,
    "services.*.deploy.rollback_config": _ORCHESTRATOR,
    "services.*.deploy.placement": _ORCHESTRATOR,
    "services.*.deploy.endpoint_mode": _ORCHESTRATOR,
    "services.*.volumes[].consistency": "for macOS only",
    "networks.*.attachable": "swarm only; `gocker network connect` takes every network",
}

_BUILDER = "this part of builds; gocker build has --secret"

# Path -> what is missing. Refused until then.
LATER = {
    **{
        f"services.*.build.{key}": _BUILDER
        for key in (
            "cache_from",
            "cache_to",
            "entitlements",
            "extra_hosts",
            "no_cache_filter",
            "platforms",
            "provenance",
            "sbom",
            "secrets",
            "shm_size",
            "ssh",
            "ulimits",
        )
    },
    "services.*.logging": "log drivers; gocker always writes one log file per container",
    "services.*.pre_start": "containers that run before the service; use depends_on",
    "services.*.pull_refresh_after": "the pull policy refresh; use every_TIME",
    "services.*.volumes[].bind.selinux": "SELinux labels",
    "services.*.volumes[].image": "image mounts",
}

# Parts of honoured keys that `gocker.spec.model.checks` refuses, because it takes other keys
# or the value to decide. Documentation only.
CHECKED = {
    "services.*.network_mode": "none, host, bridge, service:NAME, container:NAME of this project",
    "networks.*.driver": "bridge, none, host, macvlan; others are refused",
    "networks.*.driver_opts": "mtu, com.docker.network.* and macvlan's; others are refused",
    "services.*.security_opt": "no-new-privileges, seccomp=FILE, mask, unmask, systempaths, "
    "apparmor, label=disable; SELinux labels are refused",
    "services.*.pull_policy": "refresh: not yet; use every_TIME",
    "services.*.platform": "the host's own only",
    "services.*.pid": "host, service:NAME, private; container: refused",
    "services.*.ipc": "host, service:NAME, private, shareable, none; container: refused",
    "services.*.privileged": "only with --allow-privileged",
    "services.*.mem_swappiness": "cgroup v1 only",
    "services.*.oom_kill_disable": "cgroup v1 only",
    "services.*.cpu_rt_period": "cgroup v1 only",
    "services.*.cpu_rt_runtime": "cgroup v1 only",
    "volumes.*.driver_opts": "type none or bind with device, type tmpfs; others are refused",
    "services.*.devices": "CDI names are refused",
    "services.*.x-gocker.ready": "port only with network_mode: host",
    "services.*.volumes[].type": "bind, volume, tmpfs; image not yet, npipe, cluster refused",
}

# Key -> the key beside it that makes it superfluous, and why it then has no effect.
UNLESS: dict[str, tuple[str, str]] = {}

# Values with which a key without support changes nothing. Empty ones never do.
HARMLESS: dict[str, frozenset[Any]] = {
    "services.*.deploy.mode": frozenset({"replicated"}),
    "services.*.isolation": frozenset({"default"}),
    "services.*.runtime": frozenset({"gocker"}),
    "networks.*.ipam.driver": frozenset({"default"}),
    "volumes.*.driver": frozenset({"local"}),
}

# Not built yet, but typed: `gocker.spec.model.checks` refuses them by their values.
TYPED: frozenset[str] = frozenset()

# The loader has used them up; no model has them.
CONSUMED = frozenset(
    {"version", "include", "services.*.extends", "services.*.label_file"}
)  # fmt: skip


class Row(NamedTuple):
    """What gocker does with one key. `status`: honoured, refused, warned or later.

    `typed`: the models have it; consumed and unsupported keys have no field.
    """

    status: str
    reason: str = ""
    harmless: frozenset[Any] = frozenset()
    typed: bool = False
    unless: tuple[str, str] | None = None


class Branch:
    """A node of the table's tree: the row of a path, and what is below it by key.

    `extensible`: keys that start with ``x-`` belong to others and are none of our business.
    """

    __slots__ = ("below", "extensible", "row")

    def __init__(self, row: Row, *, extensible: bool = True) -> None:
        self.row = row
        self.below: dict[str, Branch] = {}
        self.extensible = extensible


def segments(path: str) -> list[str]:
    """Return ``["services", "*", "volumes", "[]", "type"]`` for ``services.*.volumes[].type``."""
    return path.replace("[]", ".[]").split(".") if path else []


def tree() -> Branch:
    """Return the table as a tree; ``jobs.*`` takes over what services and jobs share."""
    root = Branch(Row("honoured", typed=True))
    for prefix, keys in HONOURED.items():
        for key in keys.split():
            path = f"{prefix}.{key}" if prefix else key
            _put(root, path, Row("honoured", CHECKED.get(path, ""), typed=path not in CONSUMED))
    for status, rows in (("refused", REFUSED), ("warned", WARNED), ("later", LATER)):
        for path, reason in rows.items():
            harmless = HARMLESS.get(path, frozenset())
            _put(root, path, Row(status, reason, harmless, path in TYPED, UNLESS.get(path)))
    job = root.below["jobs"].below["*"].below
    for key, branch in root.below["services"].below["*"].below.items():
        job.setdefault(key, branch)
    return root


def _put(root: Branch, path: str, row: Row) -> None:
    *parents, last = segments(path)
    at = root
    for segment in parents:
        at = _child(at, segment)
    _child(at, last).row = row


def _child(at: Branch, segment: str) -> Branch:
    if segment not in at.below:
        extensible = at.extensible and segment != "x-gocker"
        at.below[segment] = Branch(Row("honoured", typed=True), extensible=extensible)
    return at.below[segment]


def find(root: Branch, path: str) -> Row | None:
    """Return the row that covers a pattern, or None if there is none."""
    at = root
    for segment in segments(path):
        below = at.below.get(segment)
        if below is None:
            return None
        # What is below an unsupported key shares its fate.
        if below.row.status != "honoured":
            return below.row
        at = below
    return at.row
