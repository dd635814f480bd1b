"""``gocker image``: the store's commands, each in a module that is loaded when it is used."""

from __future__ import annotations

import argparse

from gocker.cli.options import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.scheduler.launcher import Launcher

# name: (module, one line of help)
COMMANDS = {
    "ls": ("image_ls", "list images and what they take on the disk"),
    "pull": ("image_pull", "pull or import images"),
    "push": ("image_push", "push an image to a registry"),
    "rm": ("image_rm", "remove images"),
    "prune": ("image_rm", "remove what no name and no run needs"),
    "tag": ("image_rm", "give an image another name"),
    "inspect": ("image_inspect", "print an image's configuration"),
    "history": ("image_inspect", "print how an image was made"),
    "verify": ("image_inspect", "check the digests of all that is stored"),
    "save": ("image_files", "write an image into an archive or a layout"),
    "load": ("image_files", "read the images of an archive"),
    "import": ("image_files", "make an image of an archive of files"),
}


def parser() -> argparse.ArgumentParser:
    """Return the command's parser; the subcommand's own one parses the rest."""
    made = Parser("image", "Manage images: " + "; ".join(
        f"{name}: {text}" for name, (_, text) in COMMANDS.items()
    ))  # fmt: skip
    made.add_argument("command", choices=COMMANDS)
    made.add_argument("rest", nargs=argparse.REMAINDER)
    return made


def execute(arguments: argparse.Namespace, launcher: Launcher | None) -> int:
    """Run the subcommand."""
    from importlib import import_module

    module = import_module(f"gocker.cli.{COMMANDS[arguments.command][0]}")
    own = module.parser(arguments.command)
    code: int = module.execute(own.parse_args(arguments.rest), launcher)
    return code
