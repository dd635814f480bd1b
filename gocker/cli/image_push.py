"""``gocker image push``."""

from __future__ import annotations

import argparse
import os

from gocker.cli.image_common import add_registry_options, find
from gocker.cli.options import Parser
from gocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.scheduler.launcher import Launcher


def parser(name: str = "push") -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = Parser(f"image {name}", "Push an image; print the digest of its manifest.")
    made.add_argument("image", metavar="IMAGE")
    made.add_argument("to", nargs="?", metavar="NAME", help="in the registry; default: its own")
    made.add_argument("-q", "--quiet", action="store_true", help="no progress")
    add_registry_options(made)
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Push it."""
    from gocker.cli.progress import Shown
    from gocker.image.push import Push, elsewhere
    from gocker.image.reference import parse
    from gocker.image.registries import endpoints
    from gocker.image.registry import Client
    from gocker.image.store import Store
    from gocker.state.roots import Roots

    with Roots.open(os.environ) as roots, Store(roots) as store, store.lease():
        ref = find(store, arguments.image)
        name = parse(arguments.to or ref.name).name
        if name is None:
            raise UsageError(
                f"{ref.name!r} is no name in a registry", hint="gocker image push IMAGE NAME"
            )
        # Mirrors are for reading.
        endpoint = endpoints(name.domain, name.path, os.environ, insecure=not arguments.tls_verify)[
            -1
        ]
        client = Client(endpoint, name, os.environ, authfile=arguments.authfile)
        try:
            with Shown(str(name), quiet=arguments.quiet, verb="pushing") as progress:
                push = Push(store, client, elsewhere(store, name), progress)
                print(push.image(ref, name))  # noqa: T201  # cli prints
        finally:
            client.close()
    return 0
