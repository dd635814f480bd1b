"""Brings the images of a plan into the store. Imports little: most plans have none."""

from __future__ import annotations

from gocker.errors import HostError
from gocker.image.resolve import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from gocker.spec.load import Loaded
    from gocker.spec.model.service import Container
    from gocker.state.roots import Roots

_MADE_HERE = ("host:", "bins:")
_LOOKED_UP = ("", "missing", "if_not_present", "never", "build")


def bring(
    services: Mapping[str, Container], images: Mapping[str, str], loaded: Loaded, roots: Roots
) -> None:
    """Pull, import or build every image that the plan will ask for and that is not here.

    Args:
        services: of the plan, and its jobs.
        images: their references.
        loaded: the spec, for its directory and environment.
        roots: where the store is.

    Raises:
        HostError: of the first that cannot be had.
        PlanError: if a reference is none.
    """
    done: set[tuple[str, str]] = set()
    for name, service in services.items():
        reference, policy = images[name], service.pull_policy or "missing"
        if reference.startswith(_MADE_HERE) or (reference, policy) in done:
            continue
        done.add((reference, policy))
        here = _is_here(reference, roots, loaded.working_dir)
        if service.build is not None and (policy == "build" or not here):
            from gocker.cli.buildspec import build_service

            build_service(roots, loaded, service, reference)
        elif not (policy in _LOOKED_UP and here):
            from gocker.cli.progress import Shown
            from gocker.image.acquire import Options, acquire

            options = Options(loaded.environment, loaded.working_dir, platform=service.platform)
            with Shown(reference) as progress:
                acquire(roots, reference, options, policy, progress)


def _is_here(reference: str, roots: Roots, directory: str) -> bool:
    try:
        resolve(reference, roots, directory)
    except HostError:
        return False  # the way through the registry says what is wrong, if anything is
    return True
