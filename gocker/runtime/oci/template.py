"""``spec``, ``features`` and ``version``."""

from __future__ import annotations

import os

import gocker
from gocker import jsontext
from gocker.errors import ContainerError, HostError, UsageError
from gocker.linux import capability, syscall_table
from gocker.runtime import options as mount_options
from gocker.runtime import seccomp
from gocker.runtime.oci import bundle, schema
from gocker.runtime.oci.arguments import FLAG, TEXT, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.runtime.oci.main import Globals

_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_SAFE = ["nosuid", "noexec", "nodev"]


def _mount(destination: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"destination": destination, "type": kind, "source": source}
    return entry | ({"options": options} if options else {})


def _spec() -> dict[str, Any]:
    """Return the configuration of a shell with a terminal, as runc's own ``spec`` has it."""
    return {
        "ociVersion": bundle.VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm",
            ],
            "cwd": "/",
            "capabilities": {
                name: list(_CAPABILITIES) for name in ("bounding", "effective", "permitted")
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "gocker",
        "mounts": [
            _mount("/proc", "proc", "proc", []),
            _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
            _mount("/dev/pts", "devpts", "devpts",
                   ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            _mount("/dev/shm", "tmpfs", "shm", [*_SAFE, "mode=1777", "size=65536k"]),  # noqa: S108  # the container's
            _mount("/dev/mqueue", "mqueue", "mqueue", _SAFE),
            _mount("/sys", "sysfs", "sysfs", [*_SAFE, "ro"]),
            _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*_SAFE, "relatime", "ro"]),
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [
                {"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
                "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                "/sys/devices/virtual/powercap",
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ],
        },
    }  # fmt: skip


def _add_cgroup_namespace(spec: dict[str, Any]) -> None:
    """Add it where the hierarchy can be seen through it: on cgroup v2."""
    from gocker.cgroup import mounts

    if mounts.read().mode == "v2":
        spec["linux"]["namespaces"].append({"type": "cgroup"})


def _rootless(spec: dict[str, Any], uid: int, gid: int) -> None:
    """Make a configuration fit for a user without privileges, who maps itself to root."""
    linux = spec["linux"]
    kinds = [entry for entry in linux["namespaces"] if entry["type"] != "network"]
    linux["namespaces"] = [*kinds, {"type": "user"}]
    linux["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    del linux["resources"]
    kept = [entry for entry in spec["mounts"] if entry["destination"] != "/sys/fs/cgroup"]
    for entry in kept:
        if entry["destination"] == "/sys":
            entry |= {"type": "none", "source": "/sys", "options": ["rbind", *_SAFE, "ro"]}
        if "gid=5" in entry.get("options", ()):
            entry["options"].remove("gid=5")
    spec["mounts"] = kept


def spec_command(globals_: Globals, argv: list[str]) -> int:  # noqa: ARG001  # every command's signature
    """``spec [--bundle DIR] [--rootless]``: write config.json."""
    options = parse(argv, {"bundle": TEXT, "config": TEXT, "rootless": FLAG}, {"b": "bundle"})
    if options.arguments:
        raise UsageError("spec takes no arguments")
    path = os.path.join(options.text("bundle") or ".", "config.json")
    spec = _spec()
    _add_cgroup_namespace(spec)
    if options.flag("rootless"):
        _rootless(spec, os.geteuid(), os.getegid())
    text = jsontext.indented(spec, "\t") + "\n"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise ContainerError(f"file {path} exists. Remove it first") from None
    except OSError as error:
        raise HostError(f"cannot write {path!r}: {error.strerror}") from error
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
    return 0


def features() -> dict[str, Any]:
    """Return OCI's features structure (features.md, features-linux.md)."""
    arches = sorted({*syscall_table.AUDIT_ARCH, *syscall_table.COMPAT_ARCH})
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": bundle.VERSION,
        "hooks": list(schema.HOOKS),
        "mountOptions": mount_options.names(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": list(capability.NAMES),
            "cgroup": {
                "v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": False,
            },
            "seccomp": {"enabled": True, "archs": arches, **seccomp.known()},
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": False},
        },
        "annotations": {"io.github.gocker.version": gocker.__version__},
        "potentiallyUnsafeConfigAnnotations": [],
    }  # fmt: skip


def features_command(globals_: Globals, argv: list[str]) -> int:  # noqa: ARG001
    """``features``."""
    if parse(argv, {}).arguments:
        raise UsageError("features takes no arguments")
    os.write(1, (jsontext.indented(features(), 4) + "\n").encode())
    return 0


def version_command(globals_: Globals, argv: list[str]) -> int:  # noqa: ARG001
    """``version``."""
    text = f"gocker-oci version {gocker.__version__}\nspec: {bundle.VERSION}\n"
    os.write(1, text.encode())
    return 0
