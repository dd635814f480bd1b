"""``gocker image save``, ``load`` and ``import``."""

from __future__ import annotations

import argparse
import os

from gocker.cli.image_common import find
from gocker.cli.options import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.image.store import Store
    from gocker.scheduler.launcher import Launcher

_TEXTS = {
    "save": "Write images into an archive that docker and podman load, or an OCI layout.",
    "load": "Read all images of an archive or a layout; print their names.",
    "import": "Make an image of one layer of a tar archive of files; print its digest.",
}


def parser(name: str) -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = Parser(f"image {name}", _TEXTS[name])
    made.set_defaults(name=name)
    add = made.add_argument
    if name == "save":
        add("images", nargs="+", metavar="IMAGE")
        add("-o", "--output", default="-", metavar="FILE", help="default: standard output")
        add("--format", choices=("docker-archive", "oci-archive", "oci"), default="docker-archive")
    elif name == "load":
        add("-i", "--input", default="-", metavar="FILE", help="default: standard input")
    else:
        add("file", metavar="FILE", help="- is standard input")
        add("to", metavar="NAME")
    if name != "save":
        add("-q", "--quiet", action="store_true", help="no progress")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Run the command."""
    from gocker.image.store import Store
    from gocker.state.roots import Roots

    with Roots.open(os.environ) as roots, Store(roots) as store:
        if arguments.name == "save":
            from gocker.image.save import save

            save(store, [find(store, text) for text in arguments.images], arguments.format,
                 arguments.output)  # fmt: skip
        elif arguments.name == "load":
            _load(store, arguments)
        else:
            _import(store, arguments)
    return 0


def _load(store: Store, arguments: argparse.Namespace) -> None:
    from gocker.cli.progress import Shown
    from gocker.image.limits import limits
    from gocker.image.load import load
    from gocker.image.reference import familiar

    with Shown(arguments.input, quiet=arguments.quiet) as progress:
        for ref in load(store, arguments.input, limits(os.environ), progress):
            print(familiar(ref.name))  # noqa: T201  # cli prints


def _import(store: Store, arguments: argparse.Namespace) -> None:
    from gocker.cli.progress import Shown
    from gocker.image.document import host_platform
    from gocker.image.limits import limits
    from gocker.image.load import spooled
    from gocker.image.reference import parse_name
    from gocker.image.source import RootArchive
    from gocker.image.transfer import Wanted, bring

    name = str(parse_name(arguments.to))
    with spooled(store, arguments.file) as path:
        root = RootArchive(path)
        try:
            with Shown(name, quiet=arguments.quiet) as progress:
                wanted = Wanted(name, host_platform())
                ref = bring(store, root, wanted, limits(os.environ), progress)
        finally:
            root.close()
    print(ref.manifest)  # noqa: T201  # cli prints
