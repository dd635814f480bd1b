"""The host as a plan sees it."""

from __future__ import annotations

from gocker.cli.facts import facts
from gocker.image.resolve import resolve
from gocker.plan.container import Host
from gocker.plan.posture import ALL_CAPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from gocker.cli.facts import Facts
    from gocker.image.resolve import RootFs
    from gocker.spec.load import Loaded
    from gocker.state.roots import Roots


def host(roots: Roots, loaded: Loaded, images: dict[str, RootFs]) -> Host:
    """Return the facts for a loaded spec; what it asks for of images is put into `images`."""

    def rootfs(reference: str) -> RootFs:
        if reference not in images:
            images[reference] = resolve(reference, roots, loaded.working_dir)
        return images[reference]

    return host_of(facts(roots), loaded.environment, rootfs)


def host_of(known: Facts, environ: Mapping[str, str], rootfs: Callable[[str], RootFs]) -> Host:
    """Return the plan's host for the facts."""
    mask = known["capabilities"]
    held = frozenset(name for number, name in enumerate(ALL_CAPS) if mask >> number & 1)
    rest: Any = {name: value for name, value in known.items() if name != "capabilities"}
    return Host(rootfs=rootfs, environ=environ, capabilities=held, **rest)
