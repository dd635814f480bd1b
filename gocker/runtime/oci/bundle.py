"""A bundle: its config.json read, checked, and brought into the form that the runtime takes.

Source: runtime-spec bundle.md, config.md, config-linux.md.
"""

from __future__ import annotations

import os

from gocker import jsontext
from gocker.errors import ConfigError
from gocker.runtime.oci import schema

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = "1.3.0"
_NAMESPACES = frozenset(("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"))
# Properties that are known and not done, and what their absence looks like.
_REFUSED = ("linux.intelRdt", "linux.netDevices")


# Stands for a process that is not set; nothing can execute it.
NO_PROCESS = {"args": ["/"], "cwd": "/"}


def read(bundle: str, name: str = "config.json") -> dict[str, Any]:
    """Return the checked configuration of a bundle.

    Args:
        bundle: the directory.
        name: of the file, relative to it.

    Raises:
        ConfigError: no such file, no JSON, or a configuration that cannot be honoured.
    """
    path = os.path.join(bundle, name)
    return check(load(path), bundle)


def load(path: str) -> Any:
    """Return the JSON value of a file.

    Raises:
        ConfigError: if it cannot be read, or is no JSON in UTF-8.
    """
    try:
        with open(path, "rb") as file:
            return jsontext.loads(file.read())
    except OSError as error:
        raise ConfigError(
            f"cannot read {path!r}: {error.strerror}".replace("No such", "no such"),
            hint="make one with gocker-oci spec", phase="config",
        ) from error  # fmt: skip
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path!r} is not JSON: {error}", phase="config") from None


def check(value: Any, bundle: str) -> dict[str, Any]:
    """Return a configuration checked and complete: lists and objects that may be absent are there.

    Raises:
        ConfigError: for the first mistake.
    """
    config: dict[str, Any] = schema.checked(value, schema.CONFIG, "")
    _check_version(config["ociVersion"])
    linux = config.setdefault("linux", {})
    linux.setdefault("resources", {})
    linux.setdefault("namespaces", [])
    config.setdefault("mounts", [])
    config.setdefault("hooks", {})
    _check_root(config, bundle)
    # "This property is REQUIRED when start is called": until then there may be none.
    if "process" in config:
        check_process(config["process"])
    else:
        config["process"] = dict(NO_PROCESS)
    _check_namespaces(linux["namespaces"])
    _allow_default_devices(linux["resources"])
    _check_sysctls(linux, config)
    _check_mounts(config["mounts"], bundle)
    _check_hooks(config["hooks"])
    _refuse(config)
    return config


def _check_version(text: str) -> None:
    """Take every version of the same major number: they only add (runtime-spec, README)."""
    parts = text.partition("-")[0].partition("+")[0].split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdecimal() for part in parts):
        raise ConfigError(f"ociVersion {text!r} is not a semantic version", phase="config")
    if parts[0] != "1":
        raise ConfigError(
            f"ociVersion {text} is not supported: gocker has {VERSION}", phase="config"
        )


def _check_root(config: dict[str, Any], bundle: str) -> None:
    if "root" not in config:
        raise ConfigError("root is missing", phase="config")
    path = os.path.join(bundle, config["root"]["path"])
    try:
        resolved = os.path.realpath(path, strict=True)
    except OSError as error:
        raise ConfigError(
            f"root.path {path!r}: {(error.strerror or '').lower()}", phase="config"
        ) from error
    if not os.path.isdir(resolved):
        raise ConfigError(f"root.path {path!r} is not a directory", phase="config")
    config["root"]["path"] = resolved


def check_process(process: dict[str, Any]) -> None:
    """Check what every process of a container needs.

    Raises:
        ConfigError: for the first mistake.
    """
    if not process.get("args"):
        raise ConfigError("process.args is empty", phase="config")
    if not process["args"][0]:
        raise ConfigError("process.args[0] is empty", phase="config")
    if not process["cwd"].startswith("/"):
        raise ConfigError(f"process.cwd {process['cwd']!r} is not an absolute path", phase="config")
    limits = [limit["type"] for limit in process.get("rlimits", ())]
    for name in limits:
        if limits.count(name) > 1:
            raise ConfigError(f"process.rlimits: {name} is there twice", phase="config")


def _check_namespaces(namespaces: list[dict[str, Any]]) -> None:
    seen = set()
    for entry in namespaces:
        kind = entry["type"]
        if kind not in _NAMESPACES:
            raise ConfigError(f"linux.namespaces: unknown type {kind!r}", phase="config")
        if kind in seen:
            raise ConfigError(f"linux.namespaces: {kind} is there twice", phase="config")
        seen.add(kind)
        path = entry.get("path")
        if path and not path.startswith("/"):
            raise ConfigError(f"linux.namespaces: path {path!r} is not absolute", phase="config")
        if path is not None and not path:
            del entry["path"]
    if "mount" not in seen:
        raise ConfigError(
            "linux.namespaces has no mount namespace: the container would have the host's root, "
            "or no more than a chroot(2) between it and that",
            hint='add {"type": "mount"}', phase="config",
        )  # fmt: skip


# config-linux.md "Default Devices", terminals, and making nodes, which harms nobody as long as
# they cannot be opened: type, major, minor, access. As runc and crun have them.
_DEFAULT_RULES = (
    ("c", None, None, "m"), ("b", None, None, "m"), ("c", 1, 3, "rwm"), ("c", 1, 5, "rwm"),
    ("c", 1, 7, "rwm"), ("c", 1, 8, "rwm"), ("c", 1, 9, "rwm"), ("c", 5, 0, "rwm"),
    ("c", 5, 2, "rwm"), ("c", 136, None, "rwm"),
)  # fmt: skip


def _allow_default_devices(resources: dict[str, Any]) -> None:
    """Let rules not take away the devices that every container has."""
    rules = resources.get("devices")
    if not rules:
        return
    for kind, major, minor, access in _DEFAULT_RULES:
        rule: dict[str, Any] = {"allow": True, "type": kind, "access": access}
        rule |= {} if major is None else {"major": major}
        rules.append(rule | ({} if minor is None else {"minor": minor}))


# Sysctls that belong to a namespace: what their names begin with -> its type.
_SYSCTLS = (
    ("kernel.msg", "ipc"), ("kernel.sem", "ipc"), ("kernel.shm", "ipc"), ("fs.mqueue.", "ipc"),
    ("kernel.hostname", "uts"), ("kernel.domainname", "uts"), ("net.", "network"),
)  # fmt: skip


def _check_sysctls(linux: dict[str, Any], config: dict[str, Any]) -> None:
    """Refuse a sysctl that would change the host (namespaces(7), proc_sys(5))."""
    own = {entry["type"] for entry in linux["namespaces"]}
    for name, value in linux.get("sysctl", {}).items():
        dotted = name.replace("/", ".")
        kind = next((kind for start, kind in _SYSCTLS if dotted.startswith(start)), None)
        if kind is None and not dotted.startswith("user."):
            raise ConfigError(
                f"linux.sysctl: {name!r} is not in a namespace: it would be the host's",
                phase="config",
            )
        if kind is not None and kind not in own:
            raise ConfigError(
                f"linux.sysctl: {name!r} needs a {kind} namespace of its own", phase="config"
            )
        for key in ("hostname", "domainname"):
            if dotted == f"kernel.{key}" and config.get(key, value) != value:
                raise ConfigError(f"linux.sysctl: {name!r} contradicts {key}", phase="config")


def _check_mounts(mounts: list[dict[str, Any]], bundle: str) -> None:
    for entry in mounts:
        destination = entry["destination"]
        if not destination.startswith("/"):
            # "Destination [...] SHOULD be absolute"; relative ones count from the root.
            entry["destination"] = f"/{destination}"
        options = entry.get("options", ())
        if "bind" in options or "rbind" in options or entry.get("type") == "bind":
            if not entry.get("source"):
                raise ConfigError(f"mount on {destination!r} has no source", phase="config")
            # "either an absolute path or relative to the bundle"
            entry["source"] = os.path.join(bundle, entry["source"])


def _check_hooks(hooks: dict[str, Any]) -> None:
    for name, entries in hooks.items():
        for entry in entries:
            if not entry["path"].startswith("/"):
                raise ConfigError(
                    f"hooks.{name}: path {entry['path']!r} is not absolute", phase="config"
                )
            if entry.get("timeout", 1) <= 0:
                raise ConfigError(f"hooks.{name}: timeout is not positive", phase="config")


def _refuse(config: dict[str, Any]) -> None:
    for path in _REFUSED:
        value: Any = config
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value:
            raise ConfigError(f"{path} is not supported", phase="config")
