"""Brings the images of a plan into the store. Imports little: most plans have none."""

from __future__ import annotations

from gocker.errors import HostError
from gocker.image.resolve import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gocker.spec.load import Loaded
    from gocker.spec.model.service import Container
    from gocker.state.roots import Roots

_MADE_HERE = ("host:", "bins:")
_LOOKED_UP = ("", "missing", "if_not_present", "never", "build")


def bring(services: Iterable[Container], loaded: Loaded, roots: Roots) -> None:
    """Pull or import every image that the plan will ask for and that is not here.

    Raises:
        HostError: of the first that cannot be had.
        PlanError: if a reference is none.
    """
    from gocker.plan.container import image

    wanted = {
        (image(service), service.pull_policy or "missing"): service.platform
        for service in services
        if not image(service).startswith(_MADE_HERE)
    }
    for (reference, policy), platform in wanted.items():
        if not (policy in _LOOKED_UP and _is_here(reference, roots, loaded.working_dir)):
            from gocker.cli.progress import Shown
            from gocker.image.acquire import Options, acquire

            options = Options(loaded.environment, loaded.working_dir, platform=platform)
            with Shown(reference) as progress:
                acquire(roots, reference, options, policy, progress)


def _is_here(reference: str, roots: Roots, directory: str) -> bool:
    try:
        resolve(reference, roots, directory)
    except HostError:
        return False  # the way through the registry says what is wrong, if anything is
    return True
