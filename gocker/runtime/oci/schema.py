"""Types of every property of the runtime specification 1.3 on Linux, and one walk over a value.

Unknown properties are ignored, as config.md "Extensibility" demands; a known one with a value
of another type is an error before anything is made. ``null`` and absent are the same.
Source: runtime-spec, specs-go/config.go.
"""

from __future__ import annotations

from gocker.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# A type is a name of _SCALARS, [type] for an array, {"*": type} for a map, or a dict of
# properties. "!" ends the name of a property that must be there.
_SCALARS = {
    "int": (int, -(1 << 63), (1 << 63) - 1),
    "int32": (int, -(1 << 31), (1 << 31) - 1),
    "uint": (int, 0, (1 << 64) - 1),
    "uint32": (int, 0, (1 << 32) - 1),
    "uint16": (int, 0, (1 << 16) - 1),
}
_STRINGS = ["string"]
_MAP = {"*": "string"}
_IDS = [{"containerID!": "uint32", "hostID!": "uint32", "size!": "uint32"}]
_HOOK = [{"path!": "string", "args": _STRINGS, "env": _STRINGS, "timeout": "int"}]
_WEIGHTS = [{"major!": "int", "minor!": "int", "weight": "uint16", "leafWeight": "uint16"}]
_THROTTLE = [{"major!": "int", "minor!": "int", "rate!": "uint"}]
HOOKS = (
    "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
)  # fmt: skip

PROCESS: dict[str, Any] = {
    "terminal": "bool",
    "consoleSize": {"height!": "uint16", "width!": "uint16"},
    "user": {
        "uid": "uint32", "gid": "uint32", "umask": "uint32", "additionalGids": ["uint32"],
        "username": "string",
    },
    "args": _STRINGS,
    "env": _STRINGS,
    "cwd!": "string",
    "capabilities": dict.fromkeys(
        ("bounding", "effective", "permitted", "inheritable", "ambient"), _STRINGS
    ),
    "rlimits": [{"type!": "string", "soft!": "uint", "hard!": "uint"}],
    "noNewPrivileges": "bool",
    "apparmorProfile": "string",
    "oomScoreAdj": "int",
    "scheduler": {
        "policy!": "string", "nice": "int32", "priority": "int32", "flags": _STRINGS,
        "runtime": "uint", "deadline": "uint", "period": "uint",
    },
    "selinuxLabel": "string",
    "ioPriority": {"class!": "string", "priority": "int"},
    "execCPUAffinity": {"initial": "string", "final": "string"},
}  # fmt: skip

RESOURCES: dict[str, Any] = {
    "devices": [
        {"allow!": "bool", "type": "string", "major": "int", "minor": "int", "access": "string"}
    ],
    "memory": {
        "limit": "int", "reservation": "int", "swap": "int", "kernel": "int", "kernelTCP": "int",
        "swappiness": "uint", "disableOOMKiller": "bool", "useHierarchy": "bool",
        "checkBeforeUpdate": "bool",
    },
    "cpu": {
        "shares": "uint", "quota": "int", "burst": "uint", "period": "uint",
        "realtimeRuntime": "int", "realtimePeriod": "uint", "cpus": "string", "mems": "string",
        "idle": "int",
    },
    "pids": {"limit": "int"},
    "blockIO": {
        "weight": "uint16", "leafWeight": "uint16", "weightDevice": _WEIGHTS,
        "throttleReadBpsDevice": _THROTTLE, "throttleWriteBpsDevice": _THROTTLE,
        "throttleReadIOPSDevice": _THROTTLE, "throttleWriteIOPSDevice": _THROTTLE,
    },
    "hugepageLimits": [{"pageSize!": "string", "limit!": "uint"}],
    "network": {
        "classID": "uint32", "priorities": [{"name!": "string", "priority!": "uint32"}],
    },
    "rdma": {"*": {"hcaHandles": "uint32", "hcaObjects": "uint32"}},
    "unified": _MAP,
}  # fmt: skip

CONFIG: dict[str, Any] = {
    "ociVersion!": "string",
    "process": PROCESS,
    "root": {"path!": "string", "readonly": "bool"},
    "hostname": "string",
    "domainname": "string",
    "mounts": [
        {
            "destination!": "string", "type": "string", "source": "string", "options": _STRINGS,
            "uidMappings": _IDS, "gidMappings": _IDS,
        }
    ],
    "hooks": dict.fromkeys(HOOKS, _HOOK),
    "annotations": _MAP,
    "linux": {
        "uidMappings": _IDS,
        "gidMappings": _IDS,
        "sysctl": _MAP,
        "resources": RESOURCES,
        "cgroupsPath": "string",
        "namespaces": [{"type!": "string", "path": "string"}],
        "devices": [
            {
                "path!": "string", "type!": "string", "major": "int", "minor": "int",
                "fileMode": "uint32", "uid": "uint32", "gid": "uint32",
            }
        ],
        "netDevices": {"*": {"name": "string"}},
        "seccomp": {
            "defaultAction!": "string", "defaultErrnoRet": "uint32", "architectures": _STRINGS,
            "flags": _STRINGS, "listenerPath": "string", "listenerMetadata": "string",
            "syscalls": [
                {
                    "names!": _STRINGS, "action!": "string", "errnoRet": "uint32",
                    "args": [
                        {"index!": "uint32", "value!": "uint", "valueTwo": "uint", "op!": "string"}
                    ],
                }
            ],
        },
        "rootfsPropagation": "string",
        "maskedPaths": _STRINGS,
        "readonlyPaths": _STRINGS,
        "mountLabel": "string",
        "intelRdt": {
            "closID": "string", "schemata": _STRINGS, "l3CacheSchema": "string",
            "memBwSchema": "string", "enableMonitoring": "bool", "enableCMT": "bool",
            "enableMBM": "bool",
        },
        "memoryPolicy": {"mode!": "string", "nodes": "string", "flags": _STRINGS},
        "personality": {"domain!": "string", "flags": _STRINGS},
        "timeOffsets": {"*": {"secs": "int", "nanosecs": "uint32"}},
    },
}  # fmt: skip


def checked(value: Any, kind: Any, path: str) -> Any:
    """Return `value` without nulls and unknown properties, every part of its type.

    Args:
        value: what json made of the file.
        kind: a type as above.
        path: of the value, for messages; "" is the whole configuration.

    Raises:
        ConfigError: a value of another type, out of range, or a property that is missing.
    """
    if isinstance(kind, dict):
        return _object(value, kind, path)
    if isinstance(kind, list):
        if not isinstance(value, list):
            raise _wrong(path, "an array", value)
        return [checked(item, kind[0], f"{path}[{index}]") for index, item in enumerate(value)]
    if kind == "string":
        if not isinstance(value, str):
            raise _wrong(path, "a string", value)
        if "\0" in value:
            raise ConfigError(f"{path} contains a NUL character", phase="config")
        return value
    if kind == "bool":
        if not isinstance(value, bool):
            raise _wrong(path, "true or false", value)
        return value
    _, low, high = _SCALARS[kind]
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(path, "an integer", value)
    if not low <= value <= high:
        raise ConfigError(f"{path}: {value} is not in {low}..{high}", phase="config")
    return value


def _object(value: Any, kind: dict[str, Any], path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(path or "the configuration", "an object", value)
    prefix = f"{path}." if path else ""
    if "*" in kind:
        return {
            key: checked(item, kind["*"], f"{prefix}{key}")
            for key, item in value.items()
            if item is not None
        }
    found = {}
    # Go's JSON, in which all callers are written, takes names in any case.
    folded = {key.lower(): item for key, item in value.items()}
    for name, part in kind.items():
        key = name.removesuffix("!")
        item = value.get(key, folded.get(key.lower()))
        if item is not None:
            found[key] = checked(item, part, f"{prefix}{key}")
        elif key is not name and len(key) < len(name):
            raise ConfigError(f"{prefix}{key} is missing", phase="config")
    return found


def _wrong(path: str, expected: str, value: Any) -> ConfigError:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean",
             type(None): "null"}  # fmt: skip
    return ConfigError(
        f"{path} is {names.get(type(value), 'a number')}, expected {expected}", phase="config"
    )
