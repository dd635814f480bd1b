"""``gocker commit``, ``export`` and ``diff``: what a container has written."""

from __future__ import annotations

import argparse
import os
import sys

from gocker.cli.image_common import print_json
from gocker.cli.options import Parser
from gocker.cli.project import project_name
from gocker.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.image.compose import Image
    from gocker.image.store import Store
    from gocker.image.written import Written
    from gocker.scheduler.launcher import Launcher
    from gocker.state.roots import Roots

_TEXTS = {
    "commit": "Make an image of what a service's newest container has; print its digest.",
    "export": "Write the files of a service's newest container as a tar archive.",
    "diff": "List what a service's newest container has added, changed and deleted.",
}


def new_parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of one of the commands."""
    made = Parser(name, _TEXTS[name])
    made.set_defaults(name=name)
    add = made.add_argument
    add("-f", "--file", action="append", default=[], metavar="FILE", help="spec file")
    add("-p", "--project-name", metavar="NAME")
    add("--project-directory", metavar="DIR")
    add("service", metavar="SERVICE")
    if name == "commit":
        add("to", nargs="?", metavar="NAME", help="name of the image")
        add("-m", "--message", default="", metavar="TEXT")
        add("-a", "--author", default="", metavar="TEXT")
        add("-c", "--change", action="append", default=[], metavar="INSTRUCTION",
            help="as in a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER ...")  # fmt: skip
    elif name == "export":
        add("-o", "--output", default="-", metavar="FILE", help="default: standard output")
    else:
        add("--format", choices=("text", "json"), default="text")
    made.set_defaults(env_file=[], profile=None)
    return made


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    return new_parser("commit")


def execute(arguments: argparse.Namespace, _: Launcher | None) -> int:
    """Run the command."""
    from gocker.image.written import find
    from gocker.state.roots import Roots

    with Roots.open(os.environ) as roots:
        written = find(roots, project_name(arguments), arguments.service)
        if arguments.name == "commit":
            _commit(roots, written, arguments)
        elif arguments.name == "export":
            _export(written, arguments.output)
        else:
            _diff(written, arguments.format)
    return 0


def _commit(roots: Roots, written: Written, arguments: argparse.Namespace) -> None:
    from gocker.image.compose import now, tag
    from gocker.image.layertar import add_all, store_layer
    from gocker.image.limits import limits
    from gocker.image.reference import parse_name
    from gocker.image.store import Store

    names = [str(parse_name(arguments.to))] if arguments.to else []
    with Store(roots) as store, store.lease():
        image, whole = _base(store, written)
        entries = written.all if whole else written.entries
        layer, diff_id = store_layer(
            store, lambda writer: add_all(writer, entries()), written.uids, written.gids
        )  # fmt: skip
        image.add_layer(layer, diff_id, arguments.message or "gocker commit", now())
        if arguments.author:
            image.document["author"] = arguments.author
        change(image, arguments.change)
        digest, _ = image.store(store, limits(os.environ))
        for name in names or [digest]:
            tag(store, name, digest)
    print(digest)  # noqa: T201  # cli prints


def _base(store: Store, written: Written) -> tuple[Image, bool]:
    """Return the image that a container was made from, and whether all its files are to be added.

    A directory or ``bins:`` is no image: then the new one has a single layer.
    """
    from gocker.image.collect import records
    from gocker.image.compose import Image
    from gocker.image.unpacked import layer_path

    for record in records(store):
        paths = tuple(layer_path(store.roots, name) for name in record.layers)
        if paths and paths == written.lower and store.has_blob(record.manifest):
            return Image.of(store, record.manifest), False
    return Image.empty(), True


def change(image: Image, instructions: list[str]) -> None:
    """Change an image's configuration as Dockerfile instructions say.

    Raises:
        UsageError: if one is none, or makes a layer.
    """
    from gocker.errors import SpecError
    from gocker.image import buildconfig, dockerfile

    for text in instructions:
        try:
            (item,) = dockerfile.Dockerfile(text, "--change").instructions
            if item.name not in buildconfig.CONFIGURING:
                raise ValueError(f"{item.name} changes no configuration")
            buildconfig.apply(image.config, item, keep_command=True)
        except (ValueError, SpecError) as error:
            raise UsageError(f"--change {text!r}: {error}") from error
        image.note(text)


def _export(written: Written, output: str) -> None:
    from gocker.image.layertar import Writer, add_all
    from gocker.image.save import output as opened

    with opened(output) as file:
        writer = Writer(file, written.uids, written.gids)
        add_all(writer, written.all())
        writer.close()


def _diff(written: Written, form: str) -> None:
    found = list(written.changes())
    if form == "json":
        print_json([{"kind": kind, "path": path} for kind, path in found])
        return
    from gocker.report.human import safe

    for kind, path in found:
        sys.stdout.write(f"{kind} {safe(path)}\n")
