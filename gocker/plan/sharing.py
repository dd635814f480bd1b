"""Namespaces that a service does not have for itself: `pid`, `ipc`, `uts`, `cgroup`.

What is another service's is named by its unit; the executor opens it when both are known.
Source: compose-spec 05-services.md; docker run reference, "PID settings", "IPC settings".
"""

from __future__ import annotations

from gocker.errors import PlanError
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gocker import oci
    from gocker.spec.model.project import Project
    from gocker.spec.model.service import Container as Service

# Begins the path of a namespace that belongs to a unit's container.
UNIT = "unit:"
SHM = "/dev/shm"  # noqa: S108  # a mount point, not a file


@dataclass(frozen=True, slots=True)
class Sharing:
    """Of each namespace: ``own``, ``host``, or the unit that it is shared with."""

    pid: str = "own"
    ipc: str = "own"
    uts: str = "own"
    cgroup: str = "own"
    shm: bool = True

    def namespaces(self) -> list[oci.Namespace]:
        """Return the entries of linux.namespaces, without network and user."""
        found: list[oci.Namespace] = [{"type": "mount"}]
        for kind in ("uts", "ipc", "pid", "cgroup"):
            whose = getattr(self, kind)
            if whose == "own":
                found.append({"type": kind})
            elif whose != "host":
                found.append({"type": kind, "path": f"{UNIT}{whose}"})
        return found

    @property
    def units(self) -> tuple[str, ...]:
        """The units whose namespaces are joined."""
        return tuple(dict.fromkeys(it for it in (self.pid, self.ipc) if it not in ("own", "host")))

    def joins(self, *, user: bool) -> tuple[tuple[str, str], ...]:
        """Return what the executor has to open: (type of a namespace, unit)."""
        found = [
            (kind, whose)
            for kind, whose in (("pid", self.pid), ("ipc", self.ipc))
            if whose not in ("own", "host")
        ]
        if user and found:
            found.append(("user", found[0][1]))
        if self.ipc not in ("own", "host"):
            found.append(("mount", self.ipc))
        return tuple(found)

    def user(self) -> oci.Namespace:
        """Return the entry of the user namespace: who shares has to be of the same one."""
        return (
            {"type": "user", "path": f"{UNIT}{self.units[0]}"} if self.units else {"type": "user"}
        )

    def mounts(self, entries: list[oci.Mount], *, user: bool) -> list[oci.Mount]:
        """Return a service's mounts with the shared memory of its IPC namespace."""
        if self.ipc == "own" and self.shm:
            return entries
        found: list[oci.Mount] = []
        for entry in entries:
            place = entry["destination"]
            if place == SHM and not self.shm:
                continue
            if place == SHM and self.ipc != "own":
                found.append(_bound(entry, self.ipc))
            elif place == "/dev/mqueue" and self.ipc == "host" and user:
                found.append(_bound(entry, "host"))
            else:
                found.append(entry)
        return found


def sharing(
    service: Service, project: Project, units: Mapping[str, Sequence[str]], *, user: bool
) -> Sharing:
    """Return whose namespaces a service's containers are in.

    Args:
        service: whose these are.
        project: its project.
        units: instances by the name of their service.
        user: whether the service has a user namespace of its own.

    Raises:
        PlanError: an unknown service, or a combination that cannot be.
    """
    pid = _whose("pid", service.pid, project, units)
    ipc = _whose("ipc", service.ipc, project, units)
    found = Sharing(
        pid, ipc, service.uts or "own", "host" if service.cgroup == "host" else "own",
        service.ipc != "none",
    )  # fmt: skip
    if user and "host" in (found.pid, found.uts, found.cgroup):
        raise PlanError(
            "pid, uts and cgroup: host need userns_mode: host",
            hint="root of a user namespace has no power over the host's namespaces",
        )
    if len(found.units) > 1 and user:
        raise PlanError("pid and ipc of two services need userns_mode: host")
    return found


def _whose(key: str, mode: str | None, project: Project, units: Mapping[str, Sequence[str]]) -> str:
    if mode in (None, "", "private", "shareable", "none"):
        return "own"
    assert mode is not None  # noqa: S101  # for the type checker
    kind, _, name = mode.partition(":")
    if mode == "host":
        return "host"
    if kind != "service" or not units.get(name):
        raise PlanError(f"{key}: there is no service {name or mode!r} in this run")
    other = project.services.get(name) or project.jobs[name]
    if key == "ipc" and other.ipc in ("private", "none"):
        raise PlanError(
            f"ipc: service {name!r} does not share its IPC namespace",
            hint=f"set ipc: shareable in {name!r}",
        )
    return units[name][0]


def _bound(entry: oci.Mount, whose: str) -> oci.Mount:
    made: oci.Mount = {
        "destination": entry["destination"], "type": "bind", "source": entry["destination"],
        "options": ["bind", "rprivate", "nosuid", "nodev", "noexec"],
    }  # fmt: skip
    if whose != "host":
        made["namespace"] = f"{UNIT}{whose}"
    return made
