"""Volumes that are no plain directory of gocker's, and those of other services."""

from __future__ import annotations

from gocker.errors import PlanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker import oci
    from gocker.spec.model.project import Project
    from gocker.spec.model.service import Container as Service
    from gocker.spec.model.volume import DriverOptions, Mount


def all_of(service: Service, project: Project, seen: frozenset[str] = frozenset()) -> list[Mount]:
    """Return a service's volumes with those of `volumes_from`; its own targets win.

    Raises:
        PlanError: an unknown service, a circle, or a volume that has no name to share it by.
    """
    found = list(service.volumes)
    taken = {mount.target for mount in found}
    for source in service.volumes_from:
        name, _, mode = source.partition(":")
        other = project.services.get(name) or project.jobs.get(name)
        if other is None or name in seen:
            raise PlanError(
                f"volumes_from: {'a circle with' if other else 'there is no service'} {name!r}"
            )
        for mount in all_of(other, project, seen | {name}):
            if mount.type == "volume" and mount.source is None:
                raise PlanError(
                    f"volumes_from: the volume on {mount.target!r} of {name!r} has no name",
                    hint="declare it under volumes",
                )
            if mount.target not in taken:
                taken.add(mount.target)
                update = {"read_only": True} if mode == "ro" else {}
                found.append(mount.model_copy(update=update))
    return found


def by_options(mount: Mount, name: str, options: DriverOptions) -> oci.Mount:
    """Return the mount of a volume with `driver_opts`, those of docker's local driver.

    Raises:
        PlanError: for a type that gocker does not mount.
    """
    given = [option for option in (options.o or "").split(",") if option]
    kind = options.type or ("none" if options.device else "")
    if mount.read_only:
        given.append("ro")
    if kind == "tmpfs":
        wanted = ["nosuid", "nodev", *given]
        return {"destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": wanted}
    if kind not in ("none", "bind") or not options.device:
        raise PlanError(
            f"volume {name!r}: driver_opts of type {kind or 'none'!r} are not mounted by gocker",
            hint="type none or bind with device, or tmpfs; mount network file systems on the host",
        )
    if not options.device.startswith("/"):
        raise PlanError(f"volume {name!r}: device {options.device!r} is not an absolute path")
    recursive = "bind" if "bind" in given else "rbind"
    more = [option for option in given if option not in ("bind", "rbind")]
    below = ["rnosuid", "rnodev"] if recursive == "rbind" else []
    return {
        "destination": mount.target, "type": "bind", "source": options.device,
        "options": [recursive, "rprivate", "nosuid", "nodev", *below, *more],
    }  # fmt: skip
