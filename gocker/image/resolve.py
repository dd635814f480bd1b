"""Image references to root file systems: ``host:/``, ``rootfs:PATH`` and ``bins:sh,cat``."""

from __future__ import annotations

import os
from types import MappingProxyType

from gocker.errors import HostError, PlanError
from gocker.image.path import PATH
from gocker.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    from gocker.state.roots import Roots


DEFAULT = "host:/"
_HINT = (
    "use host:/ (this host's files), bins:sh,cat (some of its programs) or rootfs:DIRECTORY; "
    "images from registries are not supported yet"
)
# What of the host no container needs to see. Others' temporary files are theirs.
_HIDDEN = ("/root", "/home", "/run", "/tmp", "/var/tmp")  # noqa: S108  # hidden, not used
HIDDEN_MODES: Mapping[str, int] = {"/root": 0o700, "/tmp": 0o1777, "/var/tmp": 0o1777}  # noqa: S108  # modes of the empty ones


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference; `value` is the path, or the programs with commas."""

    kind: Literal["host", "rootfs", "bins"]
    value: str


@dataclass(frozen=True, slots=True)
class RootFs:
    """What an image gives a container.

    `lower`: directories for an overlay, topmost first. `hidden`: paths to cover with an empty
    tmpfs (mode in `HIDDEN_MODES`, else 0755). `env`, `command`, `working_dir` and `user` are
    defaults that the service overrides.
    """

    lower: tuple[str, ...]
    hidden: tuple[str, ...] = ()
    env: Mapping[str, str] = MappingProxyType({"PATH": PATH})
    command: tuple[str, ...] = ()
    working_dir: str = "/"
    user: str = ""


def parse(ref: str) -> Reference:
    """Return the parts of a reference.

    Raises:
        PlanError: if it is of no kind that gocker knows; the hint names those.
    """
    kind, colon, value = ref.partition(":")
    if colon and kind == "host":
        if value != "/":
            raise PlanError(f"image {ref!r}: only host:/ is supported", hint=_HINT)
        return Reference("host", value)
    if colon and kind == "rootfs":
        if not value:
            raise PlanError(f"image {ref!r} names no directory", hint="rootfs:DIRECTORY")
        return Reference("rootfs", value)
    if colon and kind == "bins":
        names = [name.strip() for name in value.split(",")]
        if not all(names):
            raise PlanError(f"image {ref!r}: a program's name is empty", hint="bins:sh,cat,sleep")
        return Reference("bins", ",".join(names))
    raise PlanError(f"image {ref!r} cannot be used", hint=_HINT)


def resolve(ref: str, roots: Roots, project_dir: str) -> RootFs:
    """Return the root file system of an image reference, building a ``bins:`` one if needed.

    Args:
        ref: the service's ``image``.
        roots: where ``bins:`` trees are cached, and what ``host:/`` hides.
        project_dir: what a relative ``rootfs:`` path starts from.

    Raises:
        PlanError: if the reference is not one of ours.
        HostError: if the directory, a program or a library is not on this host.
    """
    reference = parse(ref)
    if reference.kind == "host":
        return RootFs(("/",), hidden=_hidden(roots))
    if reference.kind == "rootfs":
        return RootFs((_directory(reference.value, project_dir),))
    # Here and not above: hashlib, struct and the rest are 8 ms that host:/ can do without.
    from gocker.image.bins import bins

    names = tuple(sorted(set(reference.value.split(","))))
    return RootFs((bins(names, roots),))


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
