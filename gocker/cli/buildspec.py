"""The images of a spec's services that have ``build``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from gocker.spec.load import Loaded
    from gocker.spec.model import Project
    from gocker.state.roots import Roots


def build_services(
    roots: Roots, loaded: Loaded, project: Project, arguments: argparse.Namespace,
    wanted: set[str],
) -> None:  # fmt: skip
    """Build."""
