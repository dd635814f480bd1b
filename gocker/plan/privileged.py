"""``privileged: true``: every capability and device, nothing masked; only where it is allowed.

Not a boundary. Still with namespaces and limits of its own, unlike docker's, and with what the
host has: nothing is asked for that gocker itself does not have.
"""

from __future__ import annotations

import os
import stat

from gocker.errors import PlanError
from gocker.plan import posture

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker import oci
    from gocker.plan.container import Host

EVERY_DEVICE: list[oci.DeviceRule] = [{"allow": True, "access": "rwm"}]
_NOT_DEVICES = ("pts", "shm", "mqueue", "fd", "console")


def check(host: Host) -> None:
    """Refuse it unless the command line allows it: a spec alone must not take the host.

    Raises:
        PlanError: naming the option.
    """
    if not host.allow_privileged:
        raise PlanError(
            "privileged: true gives a container the whole host",
            hint="use cap_add and devices, or start gocker with --allow-privileged",
        )


def capabilities(host: Host) -> oci.Capabilities:
    """Return all that gocker has, in the three sets of root."""
    held = [name for name in posture.ALL_CAPS if name in host.capabilities]
    return {
        "bounding": held, "effective": [*held], "permitted": [*held], "inheritable": [],
        "ambient": [],
    }  # fmt: skip


def relax(linux: oci.Linux) -> None:
    """Take masks and filter out of a configuration, and let every device in."""
    linux.pop("seccomp", None)
    linux["maskedPaths"] = []
    linux["readonlyPaths"] = []
    linux["resources"]["devices"] = EVERY_DEVICE
    linux["devices"] = devices("/dev")


def mounts(entries: list[oci.Mount]) -> list[oci.Mount]:
    """Return the mounts with sysfs and cgroups that can be written."""
    made: list[oci.Mount] = []
    for entry in entries:
        if entry["destination"].startswith("/sys"):
            options = [option for option in entry.get("options", ()) if option != "ro"]
            made.append({**entry, "options": options})
        else:
            made.append(entry)
    return made


def devices(top: str) -> list[oci.Device]:
    """Return the device nodes below the host's /dev, with their numbers and owners."""
    found: list[oci.Device] = []
    for directory, names, files in os.walk(top):
        names[:] = [name for name in names if directory != top or name not in _NOT_DEVICES]
        for name in sorted(files):
            path = f"{directory}/{name}"
            info = os.lstat(path)
            kind = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}.get(stat.S_IFMT(info.st_mode))
            if kind is not None and name not in _NOT_DEVICES and path != f"{top}/ptmx":
                found.append({
                    "type": kind, "path": path, "major": os.major(info.st_rdev),
                    "minor": os.minor(info.st_rdev), "fileMode": stat.S_IMODE(info.st_mode),
                    "uid": info.st_uid, "gid": info.st_gid,
                })  # fmt: skip
    return found
