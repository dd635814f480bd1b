"""``gocker image inspect``, ``history`` and ``verify``."""

from __future__ import annotations

import argparse
import os
import sys

from gocker.cli.image_common import find, print_json, table
from gocker.cli.options import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.image.store import Store
    from gocker.image.unpacked import Ref
    from gocker.scheduler.launcher import Launcher

_TEXTS = {
    "inspect": "Print an image's manifest and configuration as JSON.",
    "history": "Print the steps that made an image, the last first.",
    "verify": "Check the digests of all that is stored; exit code 3 if something is wrong.",
}


def parser(name: str) -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = Parser(f"image {name}", _TEXTS[name])
    made.set_defaults(name=name)
    add = made.add_argument
    if name == "verify":
        add("--drop-caches", action="store_true", help="read the files from the disk anew")
    else:
        add("image", nargs="+" if name == "inspect" else None, metavar="IMAGE")
    if name == "history":
        add("--format", choices=("table", "json"), default="table")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Run the command."""
    from gocker.image.store import Store
    from gocker.state.roots import Roots

    with Roots.open(os.environ) as roots, Store(roots) as store:
        if arguments.name == "verify":
            return _verify(store, drop_caches=arguments.drop_caches)
        if arguments.name == "history":
            _history(store, find(store, arguments.image), arguments.format)
        else:
            print_json([_inspect(store, find(store, text)) for text in arguments.image])
    return 0


def _verify(store: Store, *, drop_caches: bool) -> int:
    from gocker.errors import HostError
    from gocker.image.verify import verify

    problems = list(verify(store, drop_caches=drop_caches))
    for problem in problems:
        print(problem)  # noqa: T201  # cli prints
    return HostError.exit_code if problems else 0


def documents(store: Store, ref: Ref) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an image's manifest and configuration."""
    from gocker.image import document as doc

    manifest = doc.parse_json(store.read_document(ref.manifest), "manifest")
    config = doc.manifest(manifest, doc.kind(manifest, "")).config
    return manifest, doc.parse_json(store.read_document(config.digest), "config")


def _inspect(store: Store, ref: Ref) -> dict[str, Any]:
    from gocker.cli.image_ls import describe

    manifest, config = documents(store, ref)
    return {**describe(store, ref), "document": manifest, "config": config}


def _history(store: Store, ref: Ref, form: str) -> None:
    manifest, config = documents(store, ref)
    sizes = iter(layer["size"] for layer in manifest["layers"])
    steps = []
    for step in config.get("history") or [{} for _ in manifest["layers"]]:
        size = 0 if step.get("empty_layer") else next(sizes, 0)
        steps.append({
            "created": step.get("created", ""), "created_by": step.get("created_by", ""),
            "size_bytes": size, "comment": step.get("comment", ""),
        })  # fmt: skip
    steps.reverse()
    if form == "json":
        print_json(steps)
        return
    from gocker.cli.progress import size_text

    rows = [
        (str(it["created"])[:19], size_text(it["size_bytes"]), str(it["created_by"])[:80])
        for it in steps
    ]
    sys.stdout.write(table(("CREATED", "SIZE", "BY"), rows))
