"""``gocker image pull``: pull images from registries, or import them from files."""

from __future__ import annotations

import argparse
import os

from gocker.cli.image_common import add_registry_options, options_of
from gocker.cli.options import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.scheduler.launcher import Launcher


def parser(name: str = "pull") -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = Parser(f"image {name}", "Pull or import images; print the digests of their manifests.")
    made.add_argument("images", nargs="+", metavar="IMAGE")
    made.add_argument("-q", "--quiet", action="store_true", help="no progress")
    add_registry_options(made)
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Pull all of them."""
    from gocker.cli.progress import pull
    from gocker.state.roots import Roots

    with Roots.open(os.environ) as roots:
        options = options_of(arguments)
        for digest in pull(roots, arguments.images, options, quiet=arguments.quiet):
            print(digest)  # noqa: T201  # cli prints
    return 0
