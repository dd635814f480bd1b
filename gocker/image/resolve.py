"""Image references to root file systems: what a plan takes of an image.

``host:/``, ``bins:`` and directories are made here; images of the store have been pulled or
imported before (`gocker.image.acquire`), and are looked up.
"""

from __future__ import annotations

import os
from types import MappingProxyType

from gocker.errors import HostError, PlanError
from gocker.image.path import PATH
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from gocker.image.reference import Reference
    from gocker.image.unpacked import Record
    from gocker.state.roots import Roots


DEFAULT = "host:/"
# What of the host no container needs to see. Others' temporary files are theirs.
_HIDDEN = ("/root", "/home", "/run", "/tmp", "/var/tmp")  # noqa: S108  # hidden, not used
HIDDEN_MODES: Mapping[str, int] = {"/root": 0o700, "/tmp": 0o1777, "/var/tmp": 0o1777}  # noqa: S108  # modes of the empty ones


@dataclass(frozen=True, slots=True)
class RootFs:
    """What an image gives a container.

    `lower`: directories for an overlay, topmost first. `hidden`: paths to cover with an empty
    tmpfs (mode in `HIDDEN_MODES`, else 0755). `root`: mode and owner of the root directory, if
    they are not 0755 and root's. `digest`: of the image's manifest. The rest are defaults that
    the service overrides; `healthcheck` is OCI's object.
    """

    lower: tuple[str, ...]
    hidden: tuple[str, ...] = ()
    env: Mapping[str, str] = MappingProxyType({"PATH": PATH})
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    working_dir: str = "/"
    user: str = ""
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()
    healthcheck: Mapping[str, Any] = MappingProxyType({})
    root: tuple[int, ...] = ()
    digest: str = ""


def resolve(ref: str, roots: Roots, project_dir: str) -> RootFs:
    """Return the root file system of an image reference, building a ``bins:`` one if needed.

    Args:
        ref: the service's ``image``.
        roots: where ``bins:`` trees are cached, and what ``host:/`` hides.
        project_dir: what a relative ``rootfs:`` path starts from.

    Raises:
        PlanError: if the reference is not one of ours.
        HostError: if the image, the directory, a program or a library is not here.
    """
    if ref == DEFAULT:
        return RootFs(("/",), hidden=_hidden(roots))
    from gocker.image.reference import parse  # most plans have no other image

    reference = parse(ref)
    if reference.kind == "rootfs" and not _is_file(reference.value, project_dir):
        return RootFs((_directory(reference.value, project_dir),))
    if reference.kind != "bins":
        return _stored(ref, reference, roots, project_dir)
    # Here and not above: hashlib, struct and the rest are 8 ms that host:/ can do without.
    from gocker.image.bins import bins

    names = tuple(sorted(set(reference.value.split(","))))
    return RootFs((bins(names, roots),))


def _is_file(value: str, project_dir: str) -> bool:
    return os.path.isfile(os.path.join(project_dir, value))


def _stored(ref: str, reference: Reference, roots: Roots, project_dir: str) -> RootFs:
    """Return what the store has; it stays locked as long as the roots are open."""
    from gocker.image import unpacked
    from gocker.image.reference import absolute

    if reference.kind == "id":
        record = unpacked.by_id(roots, reference.value)
    else:
        is_name = reference.kind == "docker"
        found = unpacked.find_ref(
            roots, str(reference.name) if is_name else absolute(reference, project_dir)
        )
        path = os.path.join(project_dir, reference.value)
        if found is not None and not is_name and found.source != unpacked.source_of(path):
            found = None
        record = unpacked.hold(roots, found.manifest) if found is not None else None
    if record is None:
        raise unpacked.missing(ref)
    return _root_fs(record, roots)


def _root_fs(record: Record, roots: Roots) -> RootFs:
    from gocker.image.unpacked import layer_path

    config = record.config
    # An image without a layer is an empty directory.
    layers = [layer_path(roots, name) for name in record.layers] or [_empty(roots)]
    return RootFs(
        tuple(layers),
        env=config["env"],
        entrypoint=tuple(config["entrypoint"]),
        command=tuple(config["command"]),
        working_dir=config["working_dir"],
        user=config["user"],
        stop_signal=config["stop_signal"],
        volumes=tuple(config["volumes"]),
        healthcheck=config["healthcheck"],
        root=record.root or (),
        digest=record.manifest,
    )


def _empty(roots: Roots) -> str:
    os.close(roots.open_data("images", "empty"))
    return os.path.join(roots.data, "images", "empty")


def _hidden(roots: Roots) -> tuple[str, ...]:
    """Return what is hidden of the host: an overlay mounts over a directory that is there."""
    live = os.path.dirname(roots.live)
    found: list[str] = []
    for path in (*_HIDDEN, os.path.realpath(roots.data), os.path.realpath(live)):
        covered = any(path == above or path.startswith(f"{above}/") for above in found)
        if not covered and os.path.isdir(path) and not os.path.islink(path):
            found.append(path)
    return tuple(found)


def _directory(value: str, project_dir: str) -> str:
    path = os.path.realpath(os.path.join(project_dir, value))
    if path == "/":
        raise PlanError("image 'rootfs:/' would show all of the host", hint="use host:/")
    if not os.path.isdir(path):
        what = "is not a directory" if os.path.exists(path) else "does not exist"
        raise HostError(
            f"image 'rootfs:{value}': {path!r} {what}",
            hint="unpack a root file system there, or correct the path",
        )
    return path
