"""A container as an OCI bundle that any runtime can run: ``gocker config --oci``.

What gocker's launcher does besides OCI (the overlay, generated files, hidden directories) is
put in OCI's own words, so that runc and crun make the same container from it.
"""

from __future__ import annotations

import shlex

from gocker.errors import PlanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker import oci
    from gocker.plan.model import Container


MOUNT_ANNOTATION = "io.gocker.rootfs.mount"


def config(container: Container, name: str, directory: str) -> oci.Config:
    """Return config.json of a bundle in `directory` (absolute).

    ``rootfs``, ``upper`` and ``work`` are directories in it, and ``files/N`` are the contents of
    `files`. The rootfs has to be mounted first, by the line in the annotation.

    Raises:
        PlanError: for a user that has to be looked up in the container.
    """
    user = container.config["process"].get("user", {})
    if "username" in user:
        raise PlanError(
            f"user {user['username']!r} is looked up in the container, which OCI cannot express",
            hint="write numbers: user: UID:GID",
        )
    if "uidMappings" in container.config["linux"]:
        raise PlanError(
            "its files are shown with other owners (userns auto), which a bundle cannot say of "
            "its root",
            hint="set userns_mode: host",
        )
    if container.joins:
        raise PlanError(
            "it shares namespaces with another container, which a bundle cannot name",
            hint="remove pid: and ipc: service:NAME",
        )
    mounts = [_plain(entry) for entry in container.config.get("mounts", [])]
    mounts += [_hide(path, mode) for path, mode in container.hidden]
    mounts += [
        _file(file, f"{directory}/files/{number}", readonly=number >= len(container.files))
        for number, file in enumerate(files(container))
    ]
    annotations = container.config.get("annotations", {})
    return {
        **container.config,
        "root": {**container.config["root"], "path": "rootfs"},
        "mounts": mounts,
        "linux": {**container.config["linux"], "cgroupsPath": f"/gocker/{name}"},
        "annotations": {**annotations, MOUNT_ANNOTATION: mount_command(container, directory)},
    }


def _plain(entry: oci.Mount) -> oci.Mount:
    """Say a mount in OCI's words alone."""
    if "subpath" not in entry:
        return entry
    made: oci.Mount = {**entry, "source": f"{entry['source']}/{entry['subpath']}"}
    del made["subpath"]
    return made


def files(container: Container) -> list[oci.File]:
    """Return the generated files, then the secrets and configs."""
    return [*container.files, *container.grants]


def mount_command(container: Container, directory: str) -> str:
    """Return the command that mounts the bundle's rootfs."""
    lower = ":".join(path.replace("\\", "\\\\").replace(":", "\\:") for path in container.lower)
    layers = directory.replace("\\", "\\\\").replace(",", "\\,")
    options = f"lowerdir={lower},upperdir={layers}/upper,workdir={layers}/work"
    nosuid = "nosuid," if container.config["process"].get("noNewPrivileges") else ""
    options = f"{nosuid}nodev,{options}"
    words = ["mount", "-t", "overlay", "overlay", "-o", options, f"{directory}/rootfs"]
    return shlex.join(words)


def _hide(path: str, mode: int) -> oci.Mount:
    options = ["nodev", "nosuid", f"mode={mode:o}"]
    return {"destination": path, "type": "tmpfs", "source": "tmpfs", "options": options}


def _file(file: oci.File, source: str, *, readonly: bool) -> oci.Mount:
    options = ["bind", "nosuid", "nodev", "noexec", "ro" if readonly else "rw"]
    return {"destination": file["path"], "type": "bind", "source": source, "options": options}


def as_json(value: Any) -> str:
    """Return a configuration as people read it."""
    import json

    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
