"""Checks of values that the kernel or the host gives a meaning: names, and what is built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gocker.spec.model.walk import Found

if TYPE_CHECKING:
    from gocker.spec.model.service import Container

# include/uapi/linux/capability.h, without CAP_.
CAPABILITIES = frozenset({
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
    "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
})  # fmt: skip
# setrlimit(2), lower case, without RLIMIT_.
ULIMITS = frozenset({
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile",
    "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
})  # fmt: skip
# Sysctls that a namespace has of its own: namespaces(7), ipc_namespaces(7).
_IPC = ("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem")
_NAMESPACED = ("net.", "fs.mqueue.", "kernel.shm")
_SECURITY = {
    "no-new-privileges": ("", "true", "false"),
    "systempaths": ("unconfined",),
    # Any value.
    **dict.fromkeys(("seccomp", "mask", "unmask", "apparmor", "label")),
}
_IPC_MODES = ("host", "private", "shareable", "none")
_FOREIGN = {"npipe": "Windows only", "cluster": "swarm only"}
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def problems(path: str, it: Container) -> Iterator[Found]:
    """Yield what is wrong with the values of one service or job."""
    for key, names in (("cap_add", it.cap_add), ("cap_drop", it.cap_drop)):
        for number, name in enumerate(names):
            known = name.upper().removeprefix("CAP_")
            if known != "ALL" and known not in CAPABILITIES:
                yield _unknown(f"{path}.{key}[{number}]", "capability", name, known, CAPABILITIES)
    for name, limit in it.ulimits.items():
        at = f"{path}.ulimits.{name}"
        if name not in ULIMITS:
            yield _unknown(at, "ulimit", name, name, ULIMITS)
        elif limit.hard != -1 and not 0 <= limit.soft <= limit.hard:
            yield at, f"soft limit {limit.soft} is above the hard limit {limit.hard}", None
    yield from _names(path, it)
    yield from _sysctls(path, it)
    for number, option in enumerate(it.security_opt):
        if not _is_security(option):
            hint = f"one of {', '.join(_SECURITY)}, with their values"
            yield f"{path}.security_opt[{number}]", f"unknown option {option!r}", hint
    for number, mount in enumerate(it.volumes):
        if mount.type == "image":
            yield f"{path}.volumes[{number}].type", "not built yet: image mounts", None
        elif mount.type in {"npipe", "cluster"}:
            yield f"{path}.volumes[{number}].type", f"refused: {_FOREIGN[mount.type]}", None
    for number, device in enumerate(it.devices):
        if not device.source.startswith("/"):
            why = f"refused: CDI name {device.source!r}: there is no device plugin"
            yield f"{path}.devices[{number}]", why, "name the device nodes"
    yield from _namespaces(path, it)


def _is_security(option: str) -> bool:
    key, sign, value = re.fullmatch(r"([^=:]*)([=:]?)(.*)", option, re.DOTALL).groups()  # type: ignore[union-attr]  # it matches all
    if key not in _SECURITY:
        return False
    values = _SECURITY[key]
    return bool(value) if values is None else value in values and bool(value or not sign)


def _namespaces(path: str, it: Container) -> Iterator[Found]:
    for key, known in (("pid", ("host", "private")), ("ipc", _IPC_MODES)):
        mode = getattr(it, key)
        if mode is None or mode in known or mode.startswith("service:"):
            continue
        hint = f"one of {', '.join(known)}, service:NAME"
        if mode.startswith("container:"):
            yield f"{path}.{key}", "refused: there are no containers outside the project", hint
        else:
            yield f"{path}.{key}", f"unknown mode {mode!r}", hint
    if it.uts and (it.hostname or it.domainname):
        at = f"{path}.{'hostname' if it.hostname else 'domainname'}"
        yield at, "would change the host's: uts is host", "remove one of the two"
    for number, source in enumerate(it.volumes_from):
        name, _, mode = source.partition(":")
        if name == "container":
            why = "refused: there are no containers outside the project"
            yield f"{path}.volumes_from[{number}]", why, "SERVICE[:ro]"
        elif mode not in ("", "ro", "rw"):
            yield f"{path}.volumes_from[{number}]", f"unknown mode {mode!r}", "ro or rw"
    if it.cgroup_parent is not None:
        parts = it.cgroup_parent.strip("/").split("/")
        if any(part in ("", ".", "..") for part in parts) or not it.cgroup_parent.isprintable():
            yield f"{path}.cgroup_parent", f"{it.cgroup_parent!r} is no path below the root", None


def _names(path: str, it: Container) -> Iterator[Found]:
    if it.stop_signal is not None:
        name = it.stop_signal.upper()
        signals = _signals()
        full = name if name.startswith("SIG") else f"SIG{name}"
        if full not in signals and not (name.isdecimal() and 1 <= int(name) <= 64):
            yield _unknown(f"{path}.stop_signal", "signal", it.stop_signal, full, signals)
    if it.pull_policy == "refresh":
        yield f"{path}.pull_policy", "not built yet: 'refresh'", "every_TIME, as every_12h"
    if it.platform is not None and not _is_host(it.platform):
        yield f"{path}.platform", f"{it.platform!r} is not this host's, and nothing emulates", None


def _signals() -> frozenset[str]:
    import signal  # 1 ms, for the few specs that name one

    return frozenset(each.name for each in signal.Signals)


def _is_host(platform: str) -> bool:
    import os

    machine = os.uname().machine
    system, _, rest = platform.partition("/")
    arch = rest.partition("/")[0]
    return system == "linux" and arch in {"", machine, _MACHINES.get(machine, machine)}


def _sysctls(path: str, it: Container) -> Iterator[Found]:
    for name in it.sysctls:
        at = f"{path}.sysctls.{name}"
        if name not in _IPC and not name.startswith(_NAMESPACED):
            yield at, f"refused: {name!r} belongs to the whole host, not to a namespace", None
        elif name.startswith("net.") and it.network_mode == "host":
            yield at, f"refused: {name!r} would change the host's network", None


def _unknown(path: str, kind: str, name: str, guess: str, known: frozenset[str]) -> Found:
    from gocker.spec.model.wording import did_you_mean

    return path, f"unknown {kind} {name!r}", did_you_mean(guess, sorted(known))
