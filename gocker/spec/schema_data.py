"""The shape of a Compose file, once: which keys there are, of which type, and their output form.

One table serves the validation of what was written (`gocker.spec.schema`) and the typed
canonical output (`gocker.spec.decode`). It follows the specification's JSON Schema
(compose-spec ``schema/compose-spec.json``) and the types that the reference decodes into.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_LETTERS: dict[str, tuple[type, ...]] = {
    "s": (str,), "b": (bool,), "i": (int,), "n": (int, float), "z": (type(None),),
}  # fmt: skip


class _Types(dict[str, "frozenset[type]"]):
    """The Python types for a word of kinds, each set made once."""

    def __missing__(self, kinds: str) -> frozenset[type]:
        made = self[kinds] = frozenset(kind for letter in kinds for kind in _LETTERS[letter])
        return made


_TYPES = _Types()


class Shape:
    """What may stand in one place.

    Attributes:
        kinds: scalars allowed, as letters: (s)tring, (b)oolean, (i)nteger, (n)umber, null (z).
        out: name of the output form in `gocker.spec.decode`.
        items: shape of a list's items, None when no list may stand here.
        unique: whether items must differ.
        keys: shape by key, None when no mapping with fixed keys may stand here.
        values: shape of the values under free keys, None when there are none.
        names: which free keys are allowed: "any", "name" (``[a-zA-Z0-9._-]+``), "ulimit".
        types: the Python types that `kinds` means.
        open: whether unknown keys pass (only ``external`` of secrets and configs).
        extensions: whether ``x-*`` keys may stand here.
        required: keys that must be there.
        always: keys that the output has even if nothing was written, with their values.
    """

    __slots__ = (
        "always", "enum", "extensions", "items", "keys", "kinds", "maximum", "minimum", "names",
        "open", "out", "pattern", "required", "types", "unique", "values",
    )  # fmt: skip

    def __init__(self, kinds: str = "", out: str = "", **settings: Any) -> None:
        self.kinds = kinds
        self.types = _TYPES[kinds]
        self.out = out
        self.items: Shape | None = settings.get("items")
        self.unique: bool = settings.get("unique", False)
        self.keys: dict[str, Shape] | None = settings.get("keys")
        self.values: Shape | None = settings.get("values")
        self.names: str = settings.get("names", "any")
        self.open: bool = settings.get("open", False)
        self.extensions: bool = settings.get("extensions", True)
        self.required: tuple[str, ...] = settings.get("required", ())
        self.always: dict[str, Any] = settings.get("always", {})
        self.enum: tuple[str, ...] = settings.get("enum", ())
        self.minimum: int | None = settings.get("minimum")
        self.maximum: int | None = settings.get("maximum")
        self.pattern: str | None = settings.get("pattern")


def _object(keys: dict[str, Shape], kinds: str = "", **settings: Any) -> Shape:
    return Shape(kinds, settings.pop("out", "object"), keys=keys, **settings)


def _list(items: Shape, kinds: str = "", **settings: Any) -> Shape:
    return Shape(kinds, settings.pop("out", "list"), items=items, **settings)


def _map(values: Shape, out: str = "map", names: str = "any", **settings: Any) -> Shape:
    settings.setdefault("extensions", False)
    return Shape(settings.pop("kinds", ""), out, values=values, names=names, **settings)


ANY = Shape("sbinz", "plain")
_STR = Shape("s", "str")
_BOOL = Shape("bs", "bool")
_BOOL_OR_UNSET = Shape("bs", "bool?")
_INT = Shape("ns", "int")
_WHOLE = Shape("is", "int")
_INT_OR_UNSET = Shape("is", "int?")
_UINT_OR_UNSET = Shape("is", "uint?")
_FLOAT = Shape("ns", "float32")
_BYTES = Shape("ns", "bytes")
_WHOLE_BYTES = Shape("is", "bytes")
_DURATION = Shape("s", "duration")
_DURATION_OR_UNSET = Shape("s", "duration?")
_STRINGS = _list(_STR)
_UNIQUE = _list(_STR, unique=True)
_STRING_OR_LIST = _list(_STR, "s", unique=True, out="strings")
_FREE = Shape("sbnz", "text")


def _pairs(out: str) -> Shape:
    """``list_or_dict``: a mapping, or a list of ``KEY=value``."""
    return Shape("", out, values=_FREE, items=_STR, unique=True, extensions=False)


_ENVIRONMENT = _pairs("environment")
_MAPPING = _pairs("mapping")
_LABELS = _pairs("mapping")
_OPTIONS = _map(Shape("sn", "text"), "mapping")
_COMMAND = _list(_STR, "sz", out="command")
_EXTRA_HOSTS = Shape(
    "", "hosts", values=_list(_STR, "s"), items=_STR, unique=True, extensions=False
)
_ULIMITS = _map(
    _object({"hard": _WHOLE, "soft": _WHOLE}, "is", required=("soft", "hard"), out="ulimit"),
    names="ulimit",
)
_MOUNTED = _list(
    _object(
        {
            "source": _STR, "target": _STR, "uid": _STR, "gid": _STR,
            "mode": Shape("ns", "mode"),
        },
        "s",
    )
)  # fmt: skip
_HOOK_KEYS = {
    "command": _COMMAND, "user": _STR, "privileged": _BOOL, "working_dir": _STR,
    "environment": _ENVIRONMENT,
}  # fmt: skip
_HOOK = _object(_HOOK_KEYS, required=("command",), always={"command": None})
_PRE_START = _object({**_HOOK_KEYS, "image": _STR, "per_replica": _BOOL}, always={"command": None})
_DEVICE_REQUEST = {
    "capabilities": _UNIQUE, "count": Shape("si", "count"), "device_ids": _UNIQUE,
    "driver": _STR, "options": _MAPPING,
}  # fmt: skip
_RATES = _list(
    _object(
        {"path": _STR, "rate": _WHOLE_BYTES}, extensions=False, always={"path": "", "rate": "0"}
    )
)
_UPDATE = _object({
    "parallelism": _UINT_OR_UNSET, "delay": _DURATION, "failure_action": _STR,
    "monitor": _DURATION, "max_failure_ratio": _FLOAT,
    "order": Shape("s", "str", enum=("start-first", "stop-first")),
})  # fmt: skip
_BUILD = _object({
    "context": _STR, "dockerfile": _STR, "dockerfile_inline": _STR, "entitlements": _STRINGS,
    "args": _ENVIRONMENT, "ssh": _pairs("ssh"), "labels": _LABELS, "cache_from": _STRINGS,
    "cache_to": _STRINGS, "no_cache": _BOOL, "no_cache_filter": _STRING_OR_LIST,
    "additional_contexts": _MAPPING, "network": _STR, "provenance": Shape("sb", "text"),
    "sbom": Shape("sb", "text"), "pull": _BOOL, "target": _STR, "shm_size": _WHOLE_BYTES,
    "extra_hosts": _EXTRA_HOSTS, "isolation": _STR, "privileged": _BOOL, "secrets": _MOUNTED,
    "tags": _STRINGS, "ulimits": _ULIMITS, "platforms": _STRINGS,
}, "s")  # fmt: skip
_DEPLOY = _object({
    "mode": _STR, "endpoint_mode": _STR, "replicas": _INT_OR_UNSET, "labels": _LABELS,
    "rollback_config": _UPDATE, "update_config": _UPDATE,
    "resources": _object({
        "limits": _object({"cpus": _FLOAT, "memory": Shape("s", "bytes"), "pids": _WHOLE}),
        "reservations": _object({
            "cpus": _FLOAT, "memory": Shape("s", "bytes"),
            "generic_resources": _list(_object({
                "discrete_resource_spec": _object(
                    {"kind": _STR, "value": _INT}, always={"kind": "", "value": 0}
                ),
            })),
            "devices": _list(_object(_DEVICE_REQUEST, required=("capabilities",))),
        }),
    }),
    "restart_policy": _object({
        "condition": _STR, "delay": _DURATION_OR_UNSET, "max_attempts": _UINT_OR_UNSET,
        "window": _DURATION_OR_UNSET,
    }),
    "placement": _object({
        "constraints": _STRINGS, "preferences": _list(_object({"spread": _STR})),
        "max_replicas_per_node": _UINT_OR_UNSET,
    }),
}, "z", always={"resources": {}, "placement": {}})  # fmt: skip
_DEVELOP = _object({
    "watch": _list(_object({
        "ignore": _STRING_OR_LIST, "include": _STRING_OR_LIST, "path": _STR,
        "action": Shape(
            "s", "str", enum=("rebuild", "sync", "restart", "sync+restart", "sync+exec")
        ),
        "target": _STR, "exec": _HOOK, "initial_sync": Shape("b", "bool"),
    }, required=("path", "action"), always={"exec": {"command": None}})),
}, "z")  # fmt: skip
_VOLUME_MOUNT = _object({
    "type": Shape(
        "s", "str", enum=("bind", "volume", "tmpfs", "cluster", "npipe", "image")
    ),
    "source": _STR, "target": _STR, "read_only": _BOOL, "consistency": _STR,
    "bind": _object({
        "propagation": _STR, "create_host_path": Shape("bs", "opt-out"),
        "recursive": Shape("s", "str", enum=("enabled", "disabled", "writable", "readonly")),
        "selinux": Shape("s", "str", enum=("z", "Z")),
    }),
    "volume": _object({"labels": _MAPPING, "nocopy": _BOOL, "subpath": _STR}),
    "tmpfs": _object({"size": Shape("is", "bytes", minimum=0), "mode": Shape("n", "uint")}),
    "image": _object({"subpath": _STR}),
}, "s", required=("type",))  # fmt: skip
_PORT = _object({
    "name": _STR, "mode": _STR, "host_ip": _STR, "target": Shape("is", "uint"),
    "published": Shape("si", "str"), "protocol": _STR, "app_protocol": _STR,
}, "ns")  # fmt: skip
_DEPENDS_ON = _map(
    _object(
        {
            "restart": _BOOL, "required": Shape("b", "bool?"),
            "condition": Shape("s", "str", enum=(
                "service_started", "service_healthy", "service_completed_successfully",
            )),
        },
        required=("condition",),
    ),
    names="name", items=_STR, unique=True,
)  # fmt: skip
_NETWORK_USE = _object({
    "aliases": _UNIQUE, "interface_name": _STR, "ipv4_address": _STR, "ipv6_address": _STR,
    "link_local_ips": _UNIQUE, "mac_address": _STR, "driver_opts": _OPTIONS,
    "priority": Shape("n", "int"), "gw_priority": Shape("n", "int"),
}, "z")  # fmt: skip

SERVICE = _object({
    "annotations": _MAPPING, "attach": _BOOL_OR_UNSET,
    "blkio_config": _object({
        "device_read_bps": _RATES, "device_read_iops": _RATES, "device_write_bps": _RATES,
        "device_write_iops": _RATES, "weight": Shape("i", "uint"),
        "weight_device": _list(_object(
            {"path": _STR, "weight": Shape("i", "uint")}, extensions=False,
            always={"path": "", "weight": 0},
        )),
    }, extensions=False),
    "build": _BUILD, "cap_add": _UNIQUE, "cap_drop": _UNIQUE,
    "cgroup": Shape("s", "str", enum=("host", "private")), "cgroup_parent": _STR,
    "command": _COMMAND, "configs": _MOUNTED,
    "container_name": Shape("s", "str", pattern="[a-zA-Z0-9][a-zA-Z0-9_.-]+"),
    "cpu_count": Shape("is", "int", minimum=0),
    "cpu_percent": Shape("is", "float32", minimum=0, maximum=100),
    "cpu_period": Shape("ns", "period"), "cpu_quota": Shape("ns", "period"),
    "cpu_rt_period": Shape("ns", "period"), "cpu_rt_runtime": Shape("ns", "period"),
    "cpu_shares": _INT, "cpus": _FLOAT, "cpuset": _STR,
    "credential_spec": _object({"config": _STR, "file": _STR, "registry": _STR}),
    "depends_on": _DEPENDS_ON, "deploy": _DEPLOY, "develop": _DEVELOP,
    "device_cgroup_rules": _UNIQUE,
    "devices": _list(_object(
        {"source": _STR, "target": _STR, "permissions": _STR}, "s", required=("source",)
    )),
    "dns": _STRING_OR_LIST, "dns_opt": _UNIQUE, "dns_search": _STRING_OR_LIST,
    "domainname": _STR, "entrypoint": _COMMAND,
    "env_file": _list(_object(
        {"path": _STR, "format": _STR, "required": Shape("bs", "opt-out")}, "s",
        extensions=False, required=("path",),
    ), "s", out="env_file"),
    "environment": _ENVIRONMENT, "expose": _list(Shape("si", "text"), unique=True),
    "extends": _object({"service": _STR, "file": _STR}, "s", extensions=False,
                       required=("service",)),
    "external_links": _UNIQUE, "extra_hosts": _EXTRA_HOSTS,
    "gpus": _list(
        _object(_DEVICE_REQUEST, open=True), "s", enum=("all",), out="list"
    ),
    "group_add": _list(Shape("sn", "str"), unique=True),
    "healthcheck": _object({
        "disable": _BOOL, "interval": _DURATION_OR_UNSET, "retries": Shape("ns", "uint?"),
        "test": _list(_STR, "s", out="test"), "timeout": _DURATION_OR_UNSET,
        "start_period": _DURATION_OR_UNSET, "start_interval": _DURATION_OR_UNSET,
    }),
    "hostname": _STR, "image": _STR, "init": _BOOL_OR_UNSET, "ipc": _STR, "isolation": _STR,
    "label_file": _list(_STR, "s", out="strings"), "labels": _LABELS, "links": _UNIQUE,
    "logging": _object({
        "driver": _STR, "options": _map(Shape("snz", "text"), "mapping"),
    }),
    "mac_address": _STR, "mem_limit": _BYTES, "mem_reservation": _WHOLE_BYTES,
    "mem_swappiness": _WHOLE_BYTES, "memswap_limit": _BYTES,
    "models": _map(
        _object({"endpoint_var": _STR, "model_var": _STR}, "z"), names="name", items=_STR,
        unique=True,
    ),
    "network_mode": _STR,
    "networks": _map(_NETWORK_USE, names="name", items=_STR, unique=True),
    "oom_kill_disable": _BOOL,
    "oom_score_adj": Shape("is", "int", minimum=-1000, maximum=1000),
    "pid": Shape("sz", "str"), "pids_limit": _INT, "platform": _STR,
    "ports": _list(_PORT, unique=True),
    "post_start": _list(_HOOK), "pre_start": _list(_PRE_START), "pre_stop": _list(_HOOK),
    "privileged": _BOOL, "profiles": _UNIQUE,
    "provider": _object({
        "type": _STR,
        "options": _map(_list(Shape("snb", "text"), "snb", out="texts")),
    }, required=("type",)),
    "pull_policy": Shape("s", "str", pattern=(
        "always|never|build|if_not_present|missing|refresh|daily|weekly|every_([0-9]+[wdhms])+"
    )),
    "pull_refresh_after": _STR, "read_only": _BOOL, "restart": _STR, "runtime": _STR,
    "scale": _INT_OR_UNSET, "secrets": _MOUNTED, "security_opt": _UNIQUE, "shm_size": _BYTES,
    "stdin_open": _BOOL, "stop_grace_period": _DURATION_OR_UNSET, "stop_signal": _STR,
    "storage_opt": _map(ANY, "mapping"), "sysctls": _MAPPING, "tmpfs": _STRING_OR_LIST,
    "tty": _BOOL, "ulimits": _ULIMITS, "use_api_socket": Shape("b", "bool"), "user": _STR,
    "userns_mode": _STR, "uts": _STR,
    "volumes": _list(_VOLUME_MOUNT, unique=True), "volumes_from": _UNIQUE, "working_dir": _STR,
}, always={"command": None, "entrypoint": None})  # fmt: skip

_NO_JOB_KEYS = frozenset((
    "restart", "scale", "deploy", "container_name", "pre_start", "post_start", "pre_stop",
    "develop", "extends",
))  # fmt: skip
JOB = _object(
    {
        **{key: shape for key, shape in (SERVICE.keys or {}).items() if key not in _NO_JOB_KEYS},
        "extends": (SERVICE.keys or {})["extends"],
        "triggers": _object({
            "manual": Shape("b", "bool?"),
            "schedule": _list(_object({
                "cron": _STR, "timezone": _STR, "concurrency": _STR, "missed_fires": _STR,
            }, required=("cron",))),
        }),
    },
    always=SERVICE.always,
)  # fmt: skip

_EXTERNAL = _object({"name": _STR}, "bs", out="external")
_EXTERNAL_OPEN = _object({"name": _STR}, "bs", out="external", open=True)
NETWORK = _object({
    "name": _STR, "driver": _STR, "driver_opts": _OPTIONS,
    "ipam": _object({
        "driver": _STR,
        "config": _list(_object({
            "subnet": _STR, "ip_range": _STR, "gateway": _STR, "aux_addresses": _map(_STR),
        })),
        "options": _map(_STR, "mapping"),
    }),
    "external": _EXTERNAL, "internal": _BOOL, "enable_ipv4": _BOOL_OR_UNSET,
    "enable_ipv6": _BOOL_OR_UNSET, "attachable": _BOOL, "labels": _LABELS,
}, "z", always={"ipam": {}})  # fmt: skip
VOLUME = _object({
    "name": _STR, "driver": _STR, "driver_opts": _OPTIONS, "external": _EXTERNAL,
    "labels": _LABELS,
}, "z")  # fmt: skip
SECRET = _object({
    "name": _STR, "environment": _STR, "file": _STR, "external": _EXTERNAL_OPEN,
    "labels": _LABELS, "driver": _STR, "driver_opts": _OPTIONS, "template_driver": _STR,
})  # fmt: skip
CONFIG = _object({
    "name": _STR, "content": _STR, "environment": _STR, "file": _STR,
    "external": _EXTERNAL_OPEN, "labels": _LABELS, "template_driver": _STR,
})  # fmt: skip
MODEL = _object({
    "name": _STR, "model": _STR, "context_size": Shape("i", "int"), "runtime_flags": _STRINGS,
}, required=("model",))  # fmt: skip
INCLUDE = _object(
    {"path": _STRING_OR_LIST, "env_file": _STRING_OR_LIST, "project_directory": _STR}, "s",
    extensions=False, required=("path",),
)  # fmt: skip

PROJECT = _object({
    "version": _STR, "name": _STR, "include": _list(INCLUDE),
    "services": _map(SERVICE, names="name"), "jobs": _map(JOB, names="name"),
    "models": _map(MODEL, names="name"), "networks": _map(NETWORK, names="name"),
    "volumes": _map(VOLUME, names="name"), "secrets": _map(SECRET, names="name"),
    "configs": _map(CONFIG, names="name"),
})  # fmt: skip

# The top-level elements that hold things by name.
SECTIONS = ("services", "jobs", "volumes", "networks", "secrets", "configs", "models")
