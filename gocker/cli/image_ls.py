"""``gocker image ls`` and ``gocker images``."""

from __future__ import annotations

import argparse
import os
import sys
import time

from gocker.cli.image_common import image_id, print_json, table
from gocker.cli.options import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.image.store import Store
    from gocker.image.unpacked import Ref
    from gocker.scheduler.launcher import Launcher


def parser(name: str = "ls") -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = Parser(f"image {name}", "List the images of the store.")
    add = made.add_argument
    add("-q", "--quiet", action="store_true", help="only identifiers")
    add("--format", choices=("table", "json"), default="table")
    add("--no-trunc", action="store_true", help="whole identifiers")
    return made


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Print the list."""
    from gocker.image.collect import usage
    from gocker.image.store import Store
    from gocker.state.roots import Roots

    with Roots.open(os.environ) as roots, Store(roots) as store:
        found = [describe(store, ref) for ref in store.refs()]
        blobs, layers = usage(store)
    if arguments.quiet:
        sys.stdout.write("".join(f"{it['id']}\n" for it in found))
    elif arguments.format == "json":
        print_json({"images": found, "blobs_bytes": blobs, "layers_bytes": layers})
    else:
        from gocker.cli.progress import size_text

        rows = [_row(it, whole=arguments.no_trunc) for it in found]
        sys.stdout.write(table(("NAME", "IMAGE ID", "AGE", "SIZE", "UNPACKED"), rows))
        sys.stderr.write(f"{size_text(blobs)} in blobs, {size_text(layers)} in unpacked layers\n")
    return 0


def describe(store: Store, ref: Ref) -> dict[str, Any]:
    """Return what is known of an image, as JSON values. Sizes are bytes."""
    from gocker.image.collect import blobs_of, layer_bytes, records

    layers = next((it.layers for it in records(store) if it.manifest == ref.manifest), ())
    return {
        "name": ref.name,
        "id": image_id(store, ref),
        "digest": ref.digest,
        "manifest": ref.manifest,
        "made_s": round(ref.made_s, 3),
        "size_bytes": sum(blobs_of(store, ref).values()),
        "unpacked_bytes": sum(layer_bytes(store, layer) for layer in layers),
        "layers": len(layers),
    }


def _row(found: dict[str, Any], *, whole: bool) -> tuple[str, ...]:
    from gocker.cli.progress import size_text
    from gocker.image.reference import familiar

    identifier = found["id"] if whole else found["id"].partition(":")[2][:12]
    days = max(0.0, time.time() - found["made_s"]) / 86_400
    age = f"{days:.0f}d" if days >= 1 else f"{days * 24:.0f}h"
    return (familiar(found["name"]), identifier, age, size_text(found["size_bytes"]),
            size_text(found["unpacked_bytes"]))  # fmt: skip
