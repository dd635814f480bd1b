"""``gocker image rm``, ``prune`` and ``tag``."""

from __future__ import annotations

import argparse
import os

from gocker.cli.image_common import find, print_json
from gocker.cli.options import Parser, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.image.collect import Removed
    from gocker.image.store import Store
    from gocker.scheduler.launcher import Launcher

_TEXTS = {
    "rm": "Remove names of images, and what nothing else needs.",
    "prune": "Remove what no name and no run needs.",
    "tag": "Give an image another name.",
}


def parser(name: str) -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = Parser(f"image {name}", _TEXTS[name])
    made.set_defaults(name=name)
    add = made.add_argument
    if name == "rm":
        add("images", nargs="+", metavar="IMAGE")
        add("-f", "--force", action="store_true", help="no error if it is not there")
    elif name == "prune":
        add("-a", "--all", action="store_true", help="all names first, but for images in use")
    else:
        add("image", metavar="IMAGE")
        add("to", metavar="NAME")
    if name != "tag":
        add("--format", choices=("text", "json"), default="text")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Run the command."""
    from gocker.image.store import Store
    from gocker.state.roots import Roots

    with Roots.open(os.environ) as roots, Store(roots) as store:
        if arguments.name == "tag":
            return _tag(store, arguments.image, arguments.to)
        if arguments.name == "rm":
            return _rm(store, arguments)
        from gocker.image.collect import prune

        if arguments.all:
            for ref in store.refs():
                store.remove_ref(ref.name)
        _tell(prune(store), arguments.format)
    return 0


def _tag(store: Store, image: str, to: str) -> int:
    from gocker.image.reference import parse_name
    from gocker.values import replace

    with store.lease():
        ref = find(store, image)
        store.write_ref(replace(ref, name=str(parse_name(to)), source=()))
    return 0


def _rm(store: Store, arguments: argparse.Namespace) -> int:
    from gocker.errors import HostError
    from gocker.image.collect import collect

    for text in arguments.images:
        try:
            store.remove_ref(find(store, text).name)
        except HostError:
            if not arguments.force:
                raise
    with store.alone() as alone:
        if alone:
            _tell(collect(store), arguments.format)
        else:
            say("gocker: images are being added; `gocker image prune` frees the space later")
    return 0


def _tell(removed: Removed, form: str) -> None:
    from gocker.cli.progress import size_text

    if form == "json":
        print_json({
            "blobs": list(removed.blobs), "layers": list(removed.layers), "bytes": removed.bytes,
        })  # fmt: skip
        return
    for name in (*removed.blobs, *removed.layers):
        print(f"removed {name}")  # noqa: T201  # cli prints
    say(f"{size_text(removed.bytes)} freed")
