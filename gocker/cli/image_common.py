"""What the commands about images share."""

from __future__ import annotations

import argparse
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from gocker.image.acquire import Options
    from gocker.image.store import Store
    from gocker.image.unpacked import Ref


def boolean(text: str) -> bool:
    """Return the value of ``--tls-verify``."""
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError("true or false")
    return text == "true"


def add_registry_options(made: argparse.ArgumentParser) -> None:
    """Add how to reach a registry."""
    add = made.add_argument
    add("--tls-verify", type=boolean, default=True, metavar="BOOL",
        help="false: accept plain HTTP and any certificate, for tests")  # fmt: skip
    add("--authfile", metavar="FILE", help="credentials, in place of docker's and podman's files")
    add("--platform", metavar="OS/ARCH", help="which image of an index; default: this host's")


def options_of(arguments: argparse.Namespace, directory: str = ".") -> Options:
    """Return how to reach registries."""
    from gocker.image.acquire import Options

    return Options(
        dict(os.environ), directory, insecure=not arguments.tls_verify,
        authfile=arguments.authfile, platform=arguments.platform,
    )  # fmt: skip


def find(store: Store, text: str) -> Ref:
    """Return an image of the store by its name, its digest, or the beginning of its identifier.

    Raises:
        HostError: if there is none, or more than one.
        PlanError: if it is no reference.
    """
    from gocker.errors import HostError
    from gocker.image.reference import absolute, parse
    from gocker.image.unpacked import missing

    beginning = text.removeprefix("sha256:")
    if len(beginning) >= 4 and set(beginning) <= set("0123456789abcdef"):
        refs = store.refs()
        found = [
            ref for ref in refs
            if any(digest.partition(":")[2].startswith(beginning) for digest in _ids(store, ref))
        ]  # fmt: skip
        if len({ref.manifest for ref in found}) > 1:
            raise HostError(f"{text!r} is the beginning of several identifiers")
        if found:
            return found[0]
    reference = parse(text)
    name = str(reference.name) if reference.name else absolute(reference, ".")
    ref = store.ref(name)
    if ref is None:
        raise missing(text)
    return ref


def _ids(store: Store, ref: Ref) -> tuple[str, ...]:
    return (ref.digest, ref.manifest, image_id(store, ref))


def image_id(store: Store, ref: Ref) -> str:
    """Return the digest of an image's configuration; empty if the image is damaged."""
    from gocker.errors import HostError
    from gocker.image import document as doc

    try:
        parsed = doc.parse_json(store.read_document(ref.manifest), "manifest")
        return doc.manifest(parsed, doc.kind(parsed, "")).config.digest
    except HostError:
        return ""


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    import json

    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return columns of text."""
    from gocker.report.human import safe

    lines = [header, *(tuple(safe(cell) for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )
